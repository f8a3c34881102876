import { closeSync, openSync, readSync } from 'node:fs';

/** Is told what each file said when it was read; undefined when it could not be. */
export type OnRead = (path: string, text: string | undefined) => void;

/**
 * The text of a file of at most `maxBytes`. Never reads more than that, whatever the file is: a device has no size and
 * no end.
 *
 * @throws Error with a message for people: too large, not UTF-8, or what the system says.
 */
export function readText(path: string, maxBytes: number, onRead?: OnRead): string {
  let text: string | undefined;
  try {
    text = read(path, maxBytes);
    return text;
  } finally {
    onRead?.(path, text);
  }
}

function read(path: string, maxBytes: number): string {
  const file = openSync(path, 'r');
  try {
    const buffer = Buffer.alloc(maxBytes + 1);
    let length = 0;
    while (length <= maxBytes) {
      const read = readSync(file, buffer, length, buffer.length - length, null);
      if (read === 0) return decoded(buffer.subarray(0, length));
      length += read;
    }
    throw new Error(`it is larger than ${maxBytes} bytes`);
  } finally {
    closeSync(file);
  }
}

function decoded(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw new Error('it is not UTF-8', { cause: error });
  }
}
