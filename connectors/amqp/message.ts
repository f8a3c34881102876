import { createHash, randomUUID } from 'node:crypto';
import type { ConsumeMessage } from 'amqplib';
import type { SourceMessage } from '../../core/contracts/message.ts';

/** Attributes of a CloudEvent, in the AMQP binding and in that of JMS: `cloudEvents:type`, `cloudEvents_type`. */
const eventPrefix = /^cloudEvents[:_]/;
/** Headers in which the broker counts: they differ each time it gives the same message. */
const counting: ReadonlySet<string> = new Set(['x-delivery-count', 'x-acquired-count']);
/** Ours; a sender's of that name would be taken for them. */
const own = /^x-amqp-/i;
/** The last ms that a date can be. */
const endOfTime = 8.64e15;

export interface Whereabouts {
  readonly queue: string;
  /** Which stream of that name it is: one that was made anew has the same offsets. Unset for other queues. */
  readonly stream?: string | undefined;
  /** Wall clock, ms. */
  readonly now: number;
}

/** A message as the pipeline takes it, with properties and application headers as headers. */
export function sourceMessageOf(message: ConsumeMessage, { queue, stream, now }: Whereabouts): SourceMessage {
  const { content, fields, properties } = message;
  const offset = offsetOf(message);
  const body = new Uint8Array(content);
  return {
    topic: fields.routingKey || fields.exchange || queue,
    id: textOf(properties.messageId) ?? (offset === undefined ? randomUUID() : `${queue}:${offset}`),
    dedupId: stream === undefined ? undefined : `${stream}:${offset}`,
    at: timeOf(properties.timestamp) ?? now,
    // A list, because it may be read once more: what is not taken is given again.
    headers: [...headersOf(message, queue)],
    body,
    attempt: 1 + (Number(properties.headers?.['x-delivery-count']) || 0),
  };
}

/** Of a message of a stream; undefined for others. */
export function offsetOf({ properties }: ConsumeMessage): number | undefined {
  const offset: unknown = properties.headers?.['x-stream-offset'];
  return offset === undefined ? undefined : Number(offset);
}

/** The same for a message that is given again, and for one that nobody can tell from it. */
export function fingerprintOf({ content, fields, properties }: ConsumeMessage): string {
  const { headers = {}, ...others } = properties;
  const said = Object.entries(headers).filter(([name]) => !counting.has(name));
  const about = JSON.stringify([fields.exchange, fields.routingKey, others, said], plain);
  return createHash('sha256').update(about).update('\0').update(content).digest('base64');
}

/** Later ones count: what is ours comes last. */
function* headersOf({ fields, properties }: ConsumeMessage, queue: string): Generator<[string, string[]]> {
  for (const [name, value] of Object.entries(properties.headers ?? {})) {
    if (own.test(name)) continue;
    const values = (Array.isArray(value) && !value.some(isTable) ? value : [value]).flatMap(
      (each) => textOf(each) ?? [],
    );
    if (values.length > 0) yield [name.replace(eventPrefix, 'ce-'), values];
  }
  const said: Readonly<Record<string, unknown>> = {
    'content-type': properties.contentType,
    'content-encoding': properties.contentEncoding,
    'x-amqp-message-id': properties.messageId,
    'x-amqp-correlation-id': properties.correlationId,
    'x-amqp-reply-to': properties.replyTo,
    'x-amqp-timestamp': properties.timestamp,
    'x-amqp-expiration': properties.expiration,
    'x-amqp-priority': properties.priority,
    'x-amqp-type': properties.type,
    'x-amqp-user-id': properties.userId,
    'x-amqp-app-id': properties.appId,
    'x-amqp-exchange': fields.exchange,
    'x-amqp-routing-key': fields.routingKey,
    'x-amqp-queue': queue,
    'x-amqp-redelivered': fields.redelivered ? true : undefined,
  };
  for (const [name, value] of Object.entries(said)) {
    const text = textOf(value);
    if (text !== undefined) yield [name, [text]];
  }
}

/** Seconds, as AMQP has it; or milliseconds, as many producers write it. */
function timeOf(timestamp: unknown): number | undefined {
  if (typeof timestamp !== 'number' || timestamp <= 0) return undefined;
  const at = timestamp < 1e11 ? timestamp * 1000 : timestamp;
  return at <= endOfTime ? at : undefined;
}

/** A value of AMQP as a header's text. */
function textOf(value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'string') return value;
  if (Buffer.isBuffer(value)) return value.toString();
  if (typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean') return String(value);
  if ((value as { readonly '!'?: unknown })['!'] === 'timestamp') {
    const at = timeOf((value as { readonly value?: unknown }).value);
    if (at !== undefined) return new Date(at).toISOString();
  }
  return JSON.stringify(value, plain);
}

function isTable(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Buffer.isBuffer(value);
}

/** The client gives large numbers as such. */
function plain(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}
