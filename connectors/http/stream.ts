import type { ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';

/**
 * Writes an answer as it comes, no faster than the caller reads; its head goes out at once. `length`: how many bytes it
 * has, if that has been told. Resolves when it is over, whichever way. The status has gone out: all that can be said
 * about a stream that breaks off, or has another length, is to break the connection.
 */
export function writeStream(response: ServerResponse, body: Readable, length: number | undefined): Promise<void> {
  if (response.destroyed) {
    body.destroy();
    return Promise.resolve();
  }
  return new Promise((resolve) => {
    let left = length;
    const breakOff = (): void => void response.destroy();
    body.on('data', (chunk: Uint8Array | string) => {
      if (left !== undefined) left -= Buffer.byteLength(chunk);
      if (left !== undefined && left < 0) breakOff();
      else if (!response.write(chunk)) body.pause();
    });
    body.on('end', () => {
      if (left) breakOff();
      else response.end();
    });
    body.on('error', breakOff);
    body.on('close', () => {
      if (!body.readableEnded) breakOff();
    });
    response.on('drain', () => body.resume());
    response.on('error', breakOff);
    response.on('close', () => {
      body.destroy();
      resolve();
    });
    if (body.destroyed) breakOff();
    else if (body.readableLength === 0) response.flushHeaders();
  });
}
