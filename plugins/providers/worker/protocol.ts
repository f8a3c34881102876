import type { MessagePort } from 'node:worker_threads';

/**
 * What the host and a thread say to each other, over a port of their own. Tuples, not objects: they are cloned at half
 * the price. The first number says what it is, the second which call it is about.
 */
export const toThread = { call: 0, abort: 1, chunk: 2, end: 3, broken: 4, credit: 5 } as const;
export const fromThread = {
  ready: 0,
  failed: 1,
  answer: 2,
  thrown: 3,
  head: 4,
  chunk: 5,
  end: 6,
  broken: 7,
  credit: 8,
  unread: 9,
  aborting: 10,
  log: 11,
} as const;

/** Names and values in turn; a name that came several times is there several times. */
export type HeaderList = readonly string[];

/** `streamed`: chunks follow. */
export const streamed = true;
export type WireBody = Uint8Array | string | null | typeof streamed;

export type CallMessage = readonly [
  kind: typeof toThread.call,
  call: number,
  id: string,
  callId: string,
  method: string,
  path: string,
  query: string,
  headers: HeaderList,
  body: Uint8Array | null | typeof streamed,
  attempt: number,
  /** Wall clock, ms. */
  deadline: number,
];

export type ToThread =
  | CallMessage
  | readonly [kind: typeof toThread.abort, call: number, reason: string, timeout: boolean]
  | readonly [kind: typeof toThread.chunk, call: number, bytes: Uint8Array]
  | readonly [kind: typeof toThread.end, call: number]
  | readonly [kind: typeof toThread.broken, call: number, message: string]
  /** So many bytes of the answer have been taken: as many more may be sent. */
  | readonly [kind: typeof toThread.credit, call: number, bytes: number];

export type FromThread =
  /** The module has been imported. `fetches`: it takes a Request. */
  | readonly [kind: typeof fromThread.ready, call: 0, fetches: boolean]
  | readonly [kind: typeof fromThread.failed, call: 0, message: string]
  | readonly [
      kind: typeof fromThread.answer,
      call: number,
      status: number,
      headers: HeaderList,
      body: Uint8Array | string | null,
    ]
  | readonly [kind: typeof fromThread.thrown, call: number, code: ThrownCode, message: string]
  | readonly [kind: typeof fromThread.head, call: number, status: number, headers: HeaderList]
  | readonly [kind: typeof fromThread.chunk, call: number, bytes: Uint8Array]
  | readonly [kind: typeof fromThread.end, call: number]
  | readonly [kind: typeof fromThread.broken, call: number, message: string]
  /** So many bytes of the request have been taken: as many more may be sent. */
  | readonly [kind: typeof fromThread.credit, call: number, bytes: number]
  /** Nobody will read the rest of the request. */
  | readonly [kind: typeof fromThread.unread, call: number]
  /** The abort arrived: the thread's event loop turns, so nothing in it runs away. */
  | readonly [kind: typeof fromThread.aborting, call: number]
  | readonly [kind: typeof fromThread.log, call: 0, callId: string | undefined, text: string];

/** How the thread's code reaches the host. */
export type Tell = (message: FromThread) => void;

export type ThrownCode = 'function.failed' | 'function.bad-response' | 'limit.body';

/** What a thread is given at its start, with its end of the port. */
export interface ThreadStart {
  readonly port: MessagePort;
  /** One number, shared: how many messages the host has posted. The thread may sleep until it changes. */
  readonly posted: Int32Array;
  /** The cells of `Claims`: a call is begun by claiming it there. */
  readonly claims: Int32Array<SharedArrayBuffer>;
  /** Calls that may run at once; the others wait until one has ended. */
  readonly perThread: number;
  /** File URL of the module. */
  readonly module: string;
  readonly function: string;
  readonly maxBody: number;
}

/** Bytes under way in one direction of one call before the sender waits. */
export const windowBytes = 256 * 1024;

/**
 * Bytes that may be posted: a view of a larger buffer would be cloned with all of the buffer, so it is copied.
 * Never transferred: they may be somebody's cached answer, or be needed again for a retry.
 */
export function postable(bytes: Uint8Array): Uint8Array {
  return bytes.byteLength === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes);
}

export function headerList(headers: Readonly<Record<string, string | readonly string[]>>): string[] {
  const list: string[] = [];
  for (const name in headers) {
    const value = headers[name];
    if (typeof value === 'string') list.push(name, value);
    else if (value) for (const each of value) list.push(name, each);
  }
  return list;
}

export function headerRecord(list: HeaderList): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = {};
  for (let index = 0; index + 1 < list.length; index += 2) {
    const name = list[index] ?? '';
    const value = list[index + 1] ?? '';
    const before = headers[name];
    if (before === undefined) headers[name] = value;
    else if (typeof before === 'string') headers[name] = [before, value];
    // Only what is the record's own is a list: `constructor` and its like are inherited.
    else if (Array.isArray(before)) before.push(value);
    else Object.defineProperty(headers, name, { value, enumerable: true, configurable: true, writable: true });
  }
  return headers;
}
