import { randomBytes } from 'node:crypto';

/**
 * What a message of a stream is: an entry of the journal; a mark, written to learn where the end is; a seal, after which
 * nothing in the stream counts, since the journal goes on in the next one.
 */
export const kinds = ['entry', 'mark', 'seal'] as const;
export type Kind = (typeof kinds)[number];

export interface StreamMessage {
  readonly kind: Kind;
  /** Of the one who wrote it, and what it was to them: how they know it again. */
  readonly id: string;
  /** What the stream held before it, as far as its writer knew. */
  readonly bytesBefore: number;
  readonly data: Uint8Array;
}

const magic = 0x4d;
const idBytes = 16;
const headBytes = 2 + idBytes + 8;

/** What is known by its id may be written twice: it is the same message. */
export function encode({ kind, id, bytesBefore, data }: StreamMessage): Buffer {
  const message = Buffer.allocUnsafe(headBytes + data.byteLength);
  message[0] = magic;
  message[1] = kinds.indexOf(kind);
  message.write(id, 2, idBytes, 'latin1');
  message.writeDoubleBE(bytesBefore, 2 + idBytes);
  message.set(data, headBytes);
  return message;
}

/** Undefined when it is not one of ours. */
export function decode(message: Buffer): StreamMessage | undefined {
  const kind = kinds[message[1] ?? kinds.length];
  if (message.byteLength < headBytes || message[0] !== magic || !kind) return undefined;
  return {
    kind,
    id: message.toString('latin1', 2, 2 + idBytes),
    bytesBefore: message.readDoubleBE(2 + idBytes),
    data: message.subarray(headBytes),
  };
}

export function createId(): string {
  return randomBytes(idBytes).toString('latin1');
}

export function createMark(): StreamMessage {
  return { kind: 'mark', id: createId(), bytesBefore: 0, data: Buffer.alloc(0) };
}
