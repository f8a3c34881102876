import { createHash } from 'node:crypto';
import type { ConsumeMessage } from 'amqplib';
import type { SourceMessage } from '../../core/contracts/message.ts';

type Header = readonly [name: string, values: readonly string[]];

/** Attributes of a CloudEvent, in the AMQP binding and in that of JMS: `cloudEvents:type`, `cloudEvents_type`. */
const eventPrefix = /^cloudEvents[:_]/;
/** Headers in which the broker counts: they differ each time it gives the same message. */
const counting: ReadonlySet<string> = new Set(['x-delivery-count', 'x-acquired-count']);
/** Ours; a sender's of that name would be taken for them. */
const own = /^x-amqp-/i;
/** The last ms that a date can be. */
const endOfTime = 8.64e15;

const printable = /^[\t\x20-\x7e]*$/;
/** What a message says of itself, and the headers that this becomes. */
const said = [
  ['contentType', 'content-type'],
  ['contentEncoding', 'content-encoding'],
  ['messageId', 'x-amqp-message-id'],
  ['correlationId', 'x-amqp-correlation-id'],
  ['replyTo', 'x-amqp-reply-to'],
  ['timestamp', 'x-amqp-timestamp'],
  ['expiration', 'x-amqp-expiration'],
  ['priority', 'x-amqp-priority'],
  ['type', 'x-amqp-type'],
  ['userId', 'x-amqp-user-id'],
  ['appId', 'x-amqp-app-id'],
] as const;

export interface Whereabouts {
  readonly queue: string;
  /** What it is called if it has no name of its own. */
  readonly id: string;
  /** By what way it came, as headers. */
  readonly way: Readonly<Record<string, string>>;
  /** Which stream of that name it is: one that was made anew has the same offsets. Unset for other queues. */
  readonly stream?: string | undefined;
  /** Wall clock, ms. */
  readonly now: number;
}

/** A message as the pipeline takes it, with properties and application headers as headers. */
export function sourceMessageOf(message: ConsumeMessage, { queue, id, way, stream, now }: Whereabouts): SourceMessage {
  const { content, fields, properties } = message;
  const offset = offsetOf(message);
  return {
    topic: fields.routingKey || fields.exchange || queue,
    id: textOf(properties.messageId) ?? (offset === undefined ? id : `${queue}:${offset}`),
    dedupId: stream === undefined ? undefined : `${stream}:${offset}`,
    at: timeOf(properties.timestamp) ?? now,
    // A list, because it may be read once more: what is not taken is given again.
    headers: headersOf(message),
    extra: way,
    body: new Uint8Array(content.buffer, content.byteOffset, content.byteLength),
    attempt: 1 + countOf(properties.headers?.['x-delivery-count']),
  };
}

/** How messages come to a queue, as headers: those of one after another are mostly the same, and then the same object. */
export function waysTo(queue: string): (fields: ConsumeMessage['fields']) => Readonly<Record<string, string>> {
  let last:
    | { readonly exchange: string; readonly routingKey: string; readonly way: Record<string, string> }
    | undefined;
  return ({ exchange, routingKey }) => {
    if (last?.exchange === exchange && last.routingKey === routingKey) return last.way;
    const way = {
      'x-amqp-exchange': headerValueOf(exchange),
      'x-amqp-routing-key': headerValueOf(routingKey),
      'x-amqp-queue': headerValueOf(queue),
    };
    last = { exchange, routingKey, way };
    return way;
  };
}

/** Of a message of a stream; undefined for others. */
export function offsetOf({ properties }: ConsumeMessage): number | undefined {
  const offset: unknown = properties.headers?.['x-stream-offset'];
  // Where it is no stream, a sender may have written anything there, of which not everything has a number.
  return typeof offset === 'number' || typeof offset === 'bigint' ? Number(offset) : undefined;
}

/** Where the queue does not count, a sender may have written anything there. */
function countOf(value: unknown): number {
  const count = typeof value === 'bigint' ? Number(value) : value;
  return typeof count === 'number' && Number.isSafeInteger(count) && count > 0 ? count : 0;
}

/** The same for a message that is given again, and for one that nobody can tell from it. */
export function fingerprintOf({ content, fields, properties }: ConsumeMessage): string {
  const { headers = {}, ...others } = properties;
  const said = Object.entries(headers).filter(([name]) => !counting.has(name));
  const about = JSON.stringify([fields.exchange, fields.routingKey, others, said], plain);
  return createHash('sha256').update(about).update('\0').update(content).digest('base64');
}

/** Later ones count: what is ours comes last. */
function headersOf({ fields, properties }: ConsumeMessage): readonly Header[] {
  const headers: Header[] = [];
  for (const [name, value] of Object.entries(properties.headers ?? {})) {
    if (own.test(name)) continue;
    const values = (Array.isArray(value) && !value.some(isTable) ? value : [value]).flatMap(
      (each) => textOf(each) ?? [],
    );
    if (values.length > 0) headers.push([name.replace(eventPrefix, 'ce-'), values]);
  }
  for (const [property, name] of said) {
    const text = textOf(properties[property]);
    if (text !== undefined) headers.push([name, [text]]);
  }
  if (fields.redelivered) headers.push(['x-amqp-redelivered', ['true']]);
  return headers;
}

function headerValueOf(text: string): string {
  return printable.test(text) ? text : encodeURIComponent(text);
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
