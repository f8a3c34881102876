import type { Readable } from 'node:stream';
import { readAll } from '../../../core/kit/body.ts';
import { postable, toThread, windowBytes, type ToThread } from './protocol.ts';

/** A request's body on its way into a thread. */
export interface Sending {
  /** The thread has read so much of it. */
  credit(bytes: number): void;
  /**
   * Nobody wants the rest. It is read and thrown away, not destroyed: destroying a request takes its connection with
   * it, and with that the answer.
   */
  stop(): void;
}

/** Sends a stream chunk by chunk, never more than a window ahead of its reader. */
export function sendBody(body: Readable, call: number, thread: { post(message: ToThread): void }): Sending {
  let ahead = 0;
  let over = false;
  const onData = (chunk: Uint8Array | string): void => {
    const bytes = postable(typeof chunk === 'string' ? Buffer.from(chunk) : chunk);
    ahead += bytes.byteLength;
    thread.post([toThread.chunk, call, bytes]);
    if (ahead >= windowBytes) body.pause();
  };
  const onEnd = (): void => {
    if (forget()) thread.post([toThread.end, call]);
  };
  const onError = (error: Error): void => {
    if (forget()) thread.post([toThread.broken, call, error.message]);
  };
  const onClose = (): void => {
    if (forget()) thread.post([toThread.broken, call, 'the body ended too early']);
  };
  /** Whether there was something to forget. */
  function forget(): boolean {
    if (over) return false;
    over = true;
    body.off('data', onData).off('end', onEnd).off('close', onClose);
    return true;
  }
  body.on('error', onError); // Stays: an error of a body that nobody reads must hurt nobody.
  if (body.destroyed) onClose();
  else body.on('data', onData).on('end', onEnd).on('close', onClose);
  return {
    credit(bytes) {
      ahead -= bytes;
      if (!over && ahead < windowBytes / 2) body.resume();
    },
    stop() {
      if (forget()) body.resume();
    },
  };
}

/** Reads a body that nobody wants. */
export function drain(body: Readable): void {
  body.on('error', () => undefined).resume();
}

/** The body is longer than the function takes. */
export class TooLong extends Error {
  constructor(maxBytes: number) {
    super(`the body is larger than the ${maxBytes} bytes that the function takes`);
  }
}

/**
 * The bytes of a body that is short. Rejects when it breaks off. In one message to a thread, it does not occupy the
 * thread while it comes.
 */
export function collect(body: Readable, maxBytes: number): Promise<Uint8Array> {
  return readAll(body, maxBytes, () => new TooLong(maxBytes));
}
