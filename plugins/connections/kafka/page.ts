import { promisify } from 'node:util';
import { zstdDecompress } from 'node:zlib';
import Decoder from 'kafkajs/src/protocol/decoder.js';
import protocolErrors from 'kafkajs/src/protocol/error.js';
import compression from 'kafkajs/src/protocol/message/compression/index.js';
import { bufferOf } from '../../../core/kit/body.ts';
import type { KafkaMessage, KafkaPage } from './driver.ts';
import { maxInflatedBytes, unlz4, unsnappy } from './inflate.ts';
import { headerBytes, recordsOf } from './records.ts';

const flags = { transactional: 0x10, control: 0x20 } as const;
const abort = 0;
/** A batch tells its length from here on. */
const lengthAt = 12;
const unzstd = promisify(zstdDecompress);

// kafkajs reads gzip only.
const readers = {
  Snappy: async (bytes: Buffer) => unsnappy(bytes),
  LZ4: async (bytes: Buffer) => unlz4(bytes),
  ZSTD: (bytes: Buffer) => unzstd(bytes, { maxOutputLength: maxInflatedBytes }),
} as const;
for (const name of ['Snappy', 'LZ4', 'ZSTD'] as const) {
  const compress = (): Promise<Buffer> => Promise.reject(new Error(`nothing is written with ${name}`));
  compression.Codecs[compression.Types[name]] = () => ({ compress, decompress: readers[name] });
}

/**
 * The answer to a fetch of one partition with isolation "read committed", which names the transactions that were taken back.
 * kafkajs gives the records only: where a batch ends of which compaction has left none, or fewer, cannot be told from
 * them, and whoever does not know it reads the same batch for ever.
 */
export async function decodePage(payload: Buffer, version: number, offset: number): Promise<KafkaPage> {
  const decoder = new Decoder(payload);
  decoder.readInt32(); // For how long the broker holds back its answers.
  if (version >= 7) {
    fail(decoder.readInt16());
    decoder.readInt32(); // Of a session, which there is none of.
  }
  for (const _level of ['topics', 'partitions']) {
    if (decoder.readInt32() !== 1) throw new Error('the broker answered for another partition');
    if (_level === 'topics') decoder.readString();
  }
  decoder.readInt32(); // The partition.
  fail(decoder.readInt16());
  decoder.readInt64(); // The end of what all replicas have, decided or not.
  const end = Number(decoder.readInt64());
  if (version >= 5) decoder.readInt64(); // The first offset that is kept.
  const aborted: TakenBack[] = [];
  // By hand: `readArray` makes room for as many as are claimed before it reads one of them.
  for (let left = decoder.readInt32(); left > 0; left--) {
    aborted.push({ producer: decoder.readInt64(), first: Number(decoder.readInt64()) });
  }
  if (version >= 11) decoder.readInt32(); // A replica that is nearer.
  const size = decoder.readInt32();
  const bytes = size > 0 ? decoder.readBytes(size) : null;
  return { ...(await decodeBatches(bytes ?? Buffer.alloc(0), aborted, offset)), end };
}

async function decodeBatches(
  bytes: Buffer,
  aborted: readonly TakenBack[],
  offset: number,
): Promise<Omit<KafkaPage, 'end'>> {
  const batches: Batch[] = [];
  const waiting = aborted.toSorted((a, b) => a.first - b.first);
  /** Producers whose transaction, which is being read, was taken back. */
  const takenBack = new Set<bigint>();
  let next = offset;
  for (let at = 0; bytes.length - at >= headerBytes;) {
    const stop = at + lengthAt + bytes.readInt32BE(at + 8);
    // Such a length would lead back to where we were, for ever.
    if (stop < at + headerBytes) throw new Error('a batch of messages is not what the format says');
    // The last one is cut where there is more than was asked for.
    if (stop > bytes.length) break;
    if (bytes[at + 16] !== 2) throw new Error('the messages were written by a Kafka before 0.11, which are not read');
    const attributes = bytes.readInt16BE(at + 21);
    const last = Number(bytes.readBigInt64BE(at)) + bytes.readInt32BE(at + 23);
    const producer = bytes.readBigInt64BE(at + 43);
    while (waiting[0] && waiting[0].first <= last) takenBack.add(waiting.shift()?.producer ?? -1n);
    const isControl = (attributes & flags.control) !== 0;
    const isTakenBack = (attributes & flags.transactional) !== 0 && takenBack.has(producer);
    if (isControl || !isTakenBack) {
      const packed = bytes.subarray(at + headerBytes, stop);
      // Compaction may leave nothing, not even what decompresses to nothing.
      const codec = packed.length > 0 ? compression.lookupCodecByAttributes(attributes) : null;
      const batch = { head: bytes.subarray(at, stop), records: codec ? await codec.decompress(packed) : packed };
      if (!isControl) batches.push(batch);
      else if (markOf(batch) === abort) takenBack.delete(producer);
    }
    next = Math.max(next, last + 1);
    at = stop;
  }
  return { messages: messagesOf(batches, offset), next };
}

/** A transaction that was taken back, from its first offset on. */
interface TakenBack {
  readonly producer: bigint;
  readonly first: number;
}

interface Batch {
  readonly head: Buffer;
  readonly records: Buffer;
}

/** How the transaction ended whose end this is. */
function markOf({ head, records }: Batch): number | undefined {
  const [mark] = recordsOf(head, records);
  return mark?.key ? bufferOf(mark.key).readInt16BE(2) : undefined;
}

/** A batch is given whole, also when it begins before what was asked for. */
function* messagesOf(batches: readonly Batch[], offset: number): Generator<KafkaMessage> {
  for (const { head, records } of batches) {
    for (const message of recordsOf(head, records)) if (message.offset >= offset) yield message;
  }
}

function fail(code: number): void {
  if (code !== 0) throw protocolErrors.createErrorFromCode(code);
}
