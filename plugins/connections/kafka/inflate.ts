/** Of one batch; a broker takes 1 MiB unless it is told otherwise, and what claims to be more than this is broken. */
export const maxInflatedBytes = 2 ** 28;

const xerial = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0]);
const frameMagic = 0x184d2204;
const frameFlags = { contentSize: 0x08, contentChecksum: 0x04, blockChecksum: 0x10, dictionary: 0x01 } as const;
const stored = 0x80000000;

/**
 * Snappy (https://github.com/google/snappy, format_description.txt), bare or in the blocks that the Java client puts it
 * into. Neither this nor LZ4 is in Node, and no package of them is kept.
 */
export function unsnappy(bytes: Buffer): Buffer {
  const output = new Output();
  if (!bytes.subarray(0, xerial.length).equals(xerial)) {
    snappyBlock(bytes, output);
    return output.bytes();
  }
  for (let at = 16; at < bytes.length;) {
    const size = bytes.readUInt32BE(at);
    snappyBlock(piece(bytes, at + 4, size), output);
    at += 4 + size;
  }
  return output.bytes();
}

function snappyBlock(bytes: Buffer, output: Output): void {
  let at = 0;
  // The length of the whole, which the end of the input tells as well.
  while (((bytes[at] ?? 0) & 0x80) !== 0) at++;
  at++;
  while (at < bytes.length) {
    const tag = bytes.readUInt8(at++);
    const kind = tag & 3;
    const upper = tag >> 2;
    if (kind === 0) {
      const extra = Math.max(0, upper - 59);
      const count = 1 + (extra === 0 ? upper : bytes.readUIntLE(at, extra));
      at += extra;
      output.literal(piece(bytes, at, count));
      at += count;
    } else if (kind === 1) {
      output.copy(((tag >> 5) << 8) | bytes.readUInt8(at), 4 + (upper & 7));
      at += 1;
    } else {
      const width = kind === 2 ? 2 : 4;
      output.copy(bytes.readUIntLE(at, width), 1 + upper);
      at += width;
    }
  }
}

/** Frames of LZ4 (https://github.com/lz4/lz4, doc/lz4_Frame_format.md). Their checksums are not looked at. */
export function unlz4(bytes: Buffer): Buffer {
  const output = new Output();
  for (let at = 0; at < bytes.length;) {
    if (bytes.readUInt32LE(at) !== frameMagic) throw new Error('it is no frame of LZ4');
    const flags = bytes.readUInt8(at + 4);
    if ((flags & frameFlags.dictionary) !== 0) throw new Error('it needs a dictionary');
    at += 7 + ((flags & frameFlags.contentSize) === 0 ? 0 : 8);
    for (;;) {
      const head = bytes.readUInt32LE(at);
      at += 4;
      if (head === 0) break;
      const size = head % stored;
      const block = piece(bytes, at, size);
      if (head >= stored) output.literal(block);
      else lz4Block(block, output);
      at += size + ((flags & frameFlags.blockChecksum) === 0 ? 0 : 4);
    }
    at += (flags & frameFlags.contentChecksum) === 0 ? 0 : 4;
  }
  return output.bytes();
}

function lz4Block(bytes: Buffer, output: Output): void {
  let at = 0;
  const length = (short: number): number => {
    if (short < 15) return short;
    let sum = short;
    for (;;) {
      const more = bytes.readUInt8(at++);
      sum += more;
      if (more < 255) return sum;
    }
  };
  while (at < bytes.length) {
    const token = bytes.readUInt8(at++);
    const count = length(token >> 4);
    output.literal(piece(bytes, at, count));
    at += count;
    // The last sequence has nothing but literals.
    if (at === bytes.length) return;
    const distance = bytes.readUInt16LE(at);
    at += 2;
    output.copy(distance, 4 + length(token & 15));
  }
}

/** Grows, and is read again by what is put into it. */
class Output {
  #buffer = Buffer.allocUnsafe(2 ** 16);
  #length = 0;

  literal(bytes: Buffer): void {
    this.#reserve(bytes.length);
    bytes.copy(this.#buffer, this.#length);
    this.#length += bytes.length;
  }

  /** Once more what stands so far back; that may run into what it makes. */
  copy(distance: number, count: number): void {
    if (distance < 1 || distance > this.#length) throw new Error('the compressed bytes are broken');
    this.#reserve(count);
    const from = this.#length - distance;
    if (distance >= count) this.#buffer.copyWithin(this.#length, from, from + count);
    else
      for (let index = 0; index < count; index++) this.#buffer[this.#length + index] = this.#buffer[from + index] ?? 0;
    this.#length += count;
  }

  bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  #reserve(count: number): void {
    const needed = this.#length + count;
    if (needed > maxInflatedBytes) throw new Error(`a batch is larger than ${maxInflatedBytes} bytes`);
    if (needed <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.max(needed, 2 * this.#buffer.length));
    this.#buffer.copy(grown, 0, 0, this.#length);
    this.#buffer = grown;
  }
}

function piece(bytes: Buffer, at: number, count: number): Buffer {
  if (at + count > bytes.length) throw new Error('the compressed bytes are cut off');
  return bytes.subarray(at, at + count);
}
