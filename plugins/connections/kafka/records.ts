import type { KafkaMessage } from './driver.ts';

/** What stands before the records of a batch, from its first offset to their number. */
export const headerBytes = 61;
/** The broker has dated the records, all alike. */
const appendTime = 0x08;
const noHeaders: KafkaMessage['headers'] = [];

/**
 * The records of a batch of version 2 (https://kafka.apache.org/documentation/#recordbatch): its head, and what stands behind
 * that, not compressed. Each is read when it is asked for, so that the thousands of a page are not objects that every
 * collection copies. kafkajs reads all at once, and by numbers that are objects and texts in between, which costs more than
 * whatever else is done with a message.
 *
 * @throws Error when they are not what the format says.
 */
export function* recordsOf(head: Buffer, records: Buffer): Generator<KafkaMessage> {
  const firstOffset = Number(head.readBigInt64BE(0));
  const isDated = (head.readInt16BE(21) & appendTime) !== 0;
  const date = Number(head.readBigInt64BE(isDated ? 35 : 27));
  const count = head.readInt32BE(headerBytes - 4);
  const cursor = new Cursor(records);
  for (let index = 0; index < count; index++) {
    const end = cursor.end();
    cursor.skip(1); // Attributes, of which none means anything.
    const age = cursor.varint();
    const offset = firstOffset + cursor.varint();
    const message = {
      offset,
      timestamp: isDated ? date : date + age,
      key: cursor.field(),
      value: cursor.field(),
      headers: headersOf(cursor),
    };
    if (cursor.at !== end) throw malformed();
    yield message;
  }
}

function headersOf(cursor: Cursor): KafkaMessage['headers'] {
  const count = cursor.varint();
  if (count === 0) return noHeaders;
  const headers: (readonly [string, Uint8Array | null])[] = [];
  for (let index = 0; index < count; index++) headers.push([cursor.text(), cursor.field()]);
  return headers;
}

class Cursor {
  at = 0;
  readonly #bytes: Buffer;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** A number of up to 64 bits in zigzag: exact up to 2 ** 53. */
  varint(): number {
    let sum = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.#bytes[this.at++];
      if (byte === undefined) throw malformed();
      sum += (byte & 127) * scale;
      if (byte < 128) return sum % 2 === 0 ? sum / 2 : -(sum + 1) / 2;
    }
  }

  /** Where what begins with its length ends. */
  end(): number {
    const length = this.varint();
    const end = this.at + length;
    if (length < 0 || end > this.#bytes.length) throw malformed();
    return end;
  }

  skip(count: number): void {
    this.at += count;
  }

  field(): Uint8Array | null {
    if (this.#bytes[this.at] === 1) {
      this.at++; // -1
      return null;
    }
    const end = this.end();
    const { buffer, byteOffset } = this.#bytes;
    const field = new Uint8Array(buffer, byteOffset + this.at, end - this.at);
    this.at = end;
    return field;
  }

  text(): string {
    const end = this.end();
    const text = this.#bytes.toString('utf8', this.at, end);
    this.at = end;
    return text;
  }
}

function malformed(): Error {
  return new Error('a batch of messages is not what the format says');
}
