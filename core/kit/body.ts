import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import type { Outcome } from '../contracts/invocation.ts';

/**
 * All bytes of a stream. By events, since the stream's async iterator costs as much as the rest of a small call. The
 * stream is not destroyed: a request's stream is its connection, on which the answer is still to be written.
 *
 * @throws what `tooLarge` makes, as soon as there are more than `maxBytes`; what `admit` says of the next bytes; Error when the
 * stream breaks off.
 */
export function readAll(
  stream: Readable,
  maxBytes: number,
  tooLarge: () => Error,
  admit?: (bytes: number) => Error | undefined,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    let over = false;
    // The listeners stay when it is over: they go with the stream, and taking them off costs as much as putting them on.
    stream.on('data', (chunk: Buffer | string) => {
      if (over) return;
      const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
      size += bytes.length;
      const refusal = size > maxBytes ? tooLarge() : admit?.(bytes.length);
      if (refusal) fail(refusal);
      else chunks.push(bytes);
    });
    stream.on('end', () => {
      over = true;
      const [only] = chunks;
      resolve(chunks.length === 1 && only ? only : Buffer.concat(chunks, size));
    });
    stream.on('error', fail);
    const onClose = (): void => {
      if (!over) fail(new Error('the body ended too early')); // Made only if needed: an error costs its stack.
    };
    stream.on('close', onClose);
    if (stream.destroyed && !stream.readableEnded) onClose();

    /** What still comes is read and forgotten: the connection is needed for the answer. */
    function fail(error: Error): void {
      if (over) return;
      over = true;
      chunks.length = 0;
      stream.resume();
      reject(error);
    }
  });
}

/** Whether the request says that it has one, which may be empty. */
export function hasBody({ headers }: IncomingMessage): boolean {
  const length = headers['content-length'];
  return headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0');
}

export function isStream(body: Outcome['body']): body is Readable {
  return body !== null && typeof body === 'object' && 'pipe' in body;
}

/** The same bytes as a Buffer, not copied. */
export function bufferOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** What the bytes say as JSON; undefined where they are none, which no JSON says. */
export function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(bufferOf(bytes).toString()) as unknown;
  } catch {
    return undefined;
  }
}

const noBytes = new Uint8Array(0);

/** The bytes of a body that has been collected. */
export function bytesOf(body: Outcome['body']): Uint8Array {
  if (typeof body === 'string') return Buffer.from(body);
  return body instanceof Uint8Array ? body : noBytes;
}
