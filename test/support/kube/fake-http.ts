import type { IncomingMessage, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { parse as parseYaml } from 'yaml';
import type { Fault } from './fake-faults.ts';
import type { Json, KubeObject } from './fake-objects.ts';
import { ApiError, badRequest } from './fake-status.ts';

export function mediaType({ headers }: IncomingMessage): string {
  return (headers['content-type'] ?? '').split(';')[0]?.trim() ?? '';
}

export async function jsonBody(request: IncomingMessage, kind = 'DeleteOptions', yaml = false): Promise<Json> {
  const body = await text(request);
  if (body === '') return null;
  try {
    return (yaml ? parseYaml(body) : JSON.parse(body)) as Json;
  } catch {
    const why = `couldn't get version/kind; json parse error: unexpected end of JSON input (${body.slice(0, 100)})`;
    throw badRequest(`the object provided is unrecognized (must be of type ${kind}): ${why}`);
  }
}

/** Metadata alone: `application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1`. */
export function wantsMetadata({ headers }: IncomingMessage): boolean {
  return /as=PartialObjectMetadata(?:List)?;/.test(`${headers.accept ?? ''};`);
}

export function metadataOf({ metadata }: KubeObject): object {
  return { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata };
}

export function methodNotAllowed(): ApiError {
  return new ApiError(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource', {});
}

export function answer(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-cache, private' });
  response.end(JSON.stringify(body));
}

/** An error of the fake's own is shown whole: a test should see it. */
export function answerError(response: ServerResponse, error: unknown): void {
  const known =
    error instanceof ApiError
      ? error
      : new ApiError(500, 'InternalError', error instanceof Error ? (error.stack ?? error.message) : String(error));
  answer(response, known.code, known.body());
}

export function answerFault(response: ServerResponse, { status, retryAfterSeconds }: Fault): void {
  if (retryAfterSeconds !== undefined) response.setHeader('retry-after', retryAfterSeconds);
  if (status === 429) {
    // Priority and fairness answers in plain text.
    response.writeHead(429, { 'content-type': 'text/plain' }).end('Too many requests, please try again later.\n');
    return;
  }
  const reasons = {
    401: 'Unauthorized',
    403: 'Forbidden',
    409: 'Conflict',
    410: 'Expired',
    500: 'InternalError',
    503: 'ServiceUnavailable',
    504: 'Timeout',
  };
  answer(response, status, new ApiError(status, reasons[status], `planted by a test: ${reasons[status]}`).body());
}
