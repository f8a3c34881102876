import type { Clock } from '../../core/contracts/clock.ts';
import type { SourceMessage } from '../../core/contracts/message.ts';
import type { KafkaMessage } from '../../plugins/connections/kafka/driver.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
/** Only the connector says these. */
const own: ReadonlySet<string> = new Set([
  'x-kafka-topic',
  'x-kafka-partition',
  'x-kafka-offset',
  'x-kafka-key',
  'x-kafka-tombstone',
]);

const noHeaders: SourceMessage['headers'] = [];
const noBytes = new Uint8Array(0);

/** The last moment that a Date can be. */
const lastDate = 8.64e15;

/** A record as core wants it. */
export function sourceMessageOf(
  topic: string,
  partition: number,
  { offset, timestamp, key: keyBytes, value, headers }: KafkaMessage,
  { attempt, keyed, clock }: { readonly attempt: number; readonly keyed: boolean; readonly clock: Pick<Clock, 'now'> },
): SourceMessage {
  const key = keyBytes === null ? undefined : textOf(keyBytes);
  const extra: Record<string, string> = {
    'x-kafka-topic': topic,
    'x-kafka-partition': String(partition),
    'x-kafka-offset': String(offset),
  };
  if (key !== undefined) extra['x-kafka-key'] = printable.test(key) ? key : percentOf(keyBytes ?? noBytes);
  // What removes its key from a compacted topic is not the same as an empty message.
  if (value === null) extra['x-kafka-tombstone'] = 'true';
  return {
    topic,
    id: `${topic}:${partition}:${offset}`,
    hasPlainId: true, // Names of topics have no other characters.
    // A topic that was made anew counts from 0 again.
    dedupId: `${topic}:${partition}:${offset}:${timestamp}`,
    // Its producer may have dated it anyhow, or not at all.
    at: timestamp >= 0 && timestamp <= lastDate ? timestamp : clock.now(),
    key,
    orderKey: keyed && key !== undefined ? `${topic}:${key}` : undefined,
    headers: headers.length === 0 ? noHeaders : headersOf(headers),
    extra,
    body: value ?? noBytes,
    attempt,
  };
}

/** By name, in lower case; `ce_type` of the Kafka binding of CloudEvents is `ce-type` of the HTTP binding. */
function headersOf(given: KafkaMessage['headers']): Iterable<readonly [string, readonly string[]]> {
  const headers = new Map<string, string[]>();
  for (const [name, value] of given) {
    const lower = name.toLowerCase().replace(/^ce_/, 'ce-');
    if (own.has(lower)) continue;
    const text = value === null ? '' : textOf(value);
    const values = headers.get(lower);
    if (values) values.push(text);
    else headers.set(lower, [text]);
  }
  return headers;
}

const printable = /^[\x20-\x24\x26-\x7e]*$/;

/** What is no text is told by its bytes: `%FF%00`. */
function textOf(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    return percentOf(bytes);
  }
}

/** As `encodeURIComponent`, but of any bytes. */
function percentOf(bytes: Uint8Array): string {
  return [...bytes]
    .map((byte) => {
      const letter = String.fromCharCode(byte);
      return /[A-Za-z0-9\-_.!~*'()]/.test(letter) ? letter : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
    })
    .join('');
}
