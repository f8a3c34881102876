import type { Readable } from 'node:stream';

/** The body had more bytes than were allowed; what still came of it was thrown away. */
export class BodyTooLarge extends RangeError {}

/**
 * All bytes of a stream. By events, since the stream's async iterator costs as much as the rest of a small call. The
 * stream is not destroyed: a request's stream is its connection, on which the answer is still to be written.
 *
 * @throws BodyTooLarge as soon as there are more than `maxBytes`; Error when the stream breaks off.
 */
export function readAll(stream: Readable, maxBytes: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const onData = (chunk: Buffer | string): void => {
      const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
      size += bytes.length;
      if (size > maxBytes) end(new BodyTooLarge(`the body is larger than ${maxBytes} bytes`));
      else chunks.push(bytes);
    };
    const onEnd = (): void => end(undefined);
    const onClose = (): void => end(new Error('the body ended too early'));
    stream.on('data', onData);
    stream.on('end', onEnd);
    stream.on('error', end);
    stream.on('close', onClose);
    if (stream.destroyed && !stream.readableEnded) onClose();

    function end(error: Error | undefined): void {
      stream.off('data', onData);
      stream.off('end', onEnd);
      stream.off('close', onClose);
      // The listener for errors stays: whatever the stream still says must hurt nobody.
      if (error) {
        stream.resume();
        reject(error);
        return;
      }
      const [only] = chunks;
      resolve(chunks.length === 1 && only ? only : Buffer.concat(chunks, size));
    }
  });
}
