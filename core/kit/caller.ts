import type { IncomingMessage } from 'node:http';

/** Where a call comes from, as the system says of its connection. */
export interface CallerAddress {
  readonly address: string;
  readonly port: number;
}

/** Of requests that another process of the gateway has passed on. */
const conveyed = new WeakMap<IncomingMessage, CallerAddress>();

/** What the process that passed the request on says of its caller; undefined where the caller is connected to this one. */
export function conveyedCaller(request: IncomingMessage): CallerAddress | undefined {
  return conveyed.get(request);
}

/** The target by which a request is passed on. Not a header, since a caller could send that one too. */
export function passedTarget({ address, port }: CallerAddress, url: string): string {
  return `/${address}/${port}${url}`;
}

/** Takes the caller out of the target of a request that was passed on; false where there is none in it. */
export function takePassedTarget(request: IncomingMessage): boolean {
  const [, address, port, url] = /^\/([^/]*)\/(\d+)(\/.*)$/s.exec(request.url ?? '') ?? [];
  if (address === undefined || port === undefined || url === undefined) return false;
  request.url = url;
  conveyed.set(request, { address, port: Number(port) });
  return true;
}
