/**
 * Fields of protobuf messages, from the end of a buffer to its start: the length of a message stands before it, and so is
 * known when its turn comes. Each of these writes what ends at `end`, and says where that begins. Whoever calls them has made
 * sure that there is room: `mostText` for each text, `mostOther` for each other field and for each message around some.
 * Source: https://protobuf.dev/programming-guides/encoding/
 */

/** Wire types, the lower three bits of a tag. */
const [varintType, fixed64Type, bytesType, fixed32Type] = [0, 1, 2, 5] as const;

/** Bytes of a field that is no text, or of what stands before a message, at most. */
export const mostOther = 32;

/** Bytes of a text's field at most: UTF-8 has three for each of JavaScript's characters. */
export function mostText(text: string): number {
  return text.length * 3 + mostOther;
}

/** Length and tag of a message whose last field ends at `until`. */
export function messageField(buffer: Buffer, end: number, field: number, until: number): number {
  return varint(buffer, varint(buffer, end, until - end), field * 8 + bytesType);
}

export function textField(buffer: Buffer, end: number, field: number, text: string): number {
  let at = end;
  // A loop, since a call into C++ costs more than the few characters that most are.
  for (let index = text.length - 1; index >= 0; index--) {
    const code = text.charCodeAt(index);
    if (code > 127) {
      at = end - Buffer.byteLength(text);
      buffer.write(text, at);
      break;
    }
    buffer[--at] = code;
  }
  return messageField(buffer, at, field, end);
}

/** Bytes that a text of lower-case hex digits says. */
export function hexField(buffer: Buffer, end: number, field: number, text: string): number {
  let at = end;
  for (let index = text.length - 1; index > 0; index -= 2)
    buffer[--at] = digitOf(text.charCodeAt(index - 1)) * 16 + digitOf(text.charCodeAt(index));
  return messageField(buffer, at, field, end);
}

/** A whole number, not below zero. */
export function numberField(buffer: Buffer, end: number, field: number, value: number): number {
  return varint(buffer, varint(buffer, end, value), field * 8 + varintType);
}

export function doubleField(buffer: Buffer, end: number, field: number, value: number): number {
  buffer.writeDoubleLE(value, end - 8);
  return varint(buffer, end - 8, field * 8 + fixed64Type);
}

export function fixed32Field(buffer: Buffer, end: number, field: number, value: number): number {
  return varint(buffer, fixed32(buffer, end, value), field * 8 + fixed32Type);
}

/** A time in ms as nanoseconds, which are more than a number can hold: in two halves. */
export function timeField(buffer: Buffer, end: number, field: number, atMs: number): number {
  const ms = Math.floor(atMs);
  const high = Math.floor(ms / 2 ** 20) * 1e6;
  const low = (high % 2 ** 12) * 2 ** 20 + (ms % 2 ** 20) * 1e6 + Math.floor((atMs - ms) * 1e6);
  const at = fixed32(buffer, end, Math.floor(high / 2 ** 12) + Math.floor(low / 2 ** 32));
  return varint(buffer, fixed32(buffer, at, low % 2 ** 32), field * 8 + fixed64Type);
}

function fixed32(buffer: Buffer, end: number, value: number): number {
  buffer[end - 1] = value >>> 24;
  buffer[end - 2] = value >>> 16;
  buffer[end - 3] = value >>> 8;
  buffer[end - 4] = value;
  return end - 4;
}

function varint(buffer: Buffer, end: number, value: number): number {
  if (value < 128) {
    buffer[end - 1] = value;
    return end - 1;
  }
  // The lower seven bits stand before the others.
  const at = varint(buffer, end, Math.floor(value / 128)) - 1;
  buffer[at] = (value % 128) | 128;
  return at;
}

/** Of a hex digit. `0` is 0x30, `a` is 0x61; without a branch, which nobody could foresee. */
function digitOf(code: number): number {
  return (code & 15) + (code >> 6) * 9;
}
