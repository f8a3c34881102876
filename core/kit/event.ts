import type { SourceMessage } from '../contracts/message.ts';
import { bufferOf } from './body.ts';
import { headerName } from './headers.ts';
import { isoTime } from './time.ts';

const printable = /^[\t\x20-\x7e]*$/;

export interface EventSource {
  /** The name of the connector. */
  readonly connector: string;
  /** The same whenever it is handed out again, where the source can tell. */
  readonly id: string;
  readonly type: string;
  /** Wall clock, ms. */
  readonly at: number;
}

/** What all messages of one connector come from. Made once: put together for each, it costs as much as the rest of them. */
export interface Origin {
  readonly kind: string;
  /** As attributes of an event. */
  readonly source: string;
  readonly type: string;
}

export function originOf(kind: string, connector: string): Origin {
  return { kind, source: sourceOf(connector), type: `millrace.${kind}.message` };
}

/**
 * A broker's message as a function sees it: its own headers, with names in lower case and nothing that HTTP could not
 * carry; where it came from; and what it is as a CloudEvent, unless it is one already. `now`: wall clock, ms.
 */
export function headersOfMessage(
  { topic, id, hasPlainId, at, headers: given, extra }: SourceMessage,
  { kind, source, type }: Origin,
  now: number,
): Record<string, string | readonly string[]> {
  const headers: Record<string, string | readonly string[]> = {};
  for (const [name, all] of given) {
    if (!headerName.test(name) || name === '__proto__') continue;
    const [only] = all;
    headers[name.toLowerCase()] = all.length === 1 && only !== undefined ? carried(only) : all.map(carried);
  }
  const subject = subjectOf(topic);
  // Binary or structured.
  const isEvent = headers['ce-specversion'] !== undefined;
  if (!isEvent && !String(headers['content-type']).startsWith('application/cloudevents')) {
    addEventHeaders(headers, hasPlainId ? id : carried(id), source, type, at ?? now);
    headers['ce-subject'] = subject;
  }
  headers['x-connector'] = kind;
  headers['x-topic'] = subject;
  for (const name in extra) headers[name] = extra[name] ?? '';
  return headers;
}

let lastTopic = '';
let lastSubject = '';

/** Messages mostly come by the topic of the one before. */
function subjectOf(topic: string): string {
  if (topic !== lastTopic) {
    lastSubject = printable.test(topic) ? topic : encodeURI(topic.toWellFormed());
    lastTopic = topic;
  }
  return lastSubject;
}

function carried(value: string): string {
  return printable.test(value) ? value : encodeURIComponent(value.toWellFormed());
}

/** Bytes as a member of an event in the JSON format: as `text` if that is all they say, since other bytes would be changed. */
export function dataMember(bytes: Uint8Array, text = bufferOf(bytes).toString()): Readonly<Record<string, string>> {
  const isWhole = Buffer.from(text).equals(bytes);
  return isWhole ? { data: text } : { data_base64: bufferOf(bytes).toString('base64') };
}

/**
 * The attributes of an event as headers of the HTTP binding, which are those of the NATS binding as well
 * (https://github.com/cloudevents/spec, bindings).
 */
export function eventHeaders({ id, connector, type, at }: EventSource): Record<string, string> {
  const headers: Record<string, string> = {};
  addEventHeaders(headers, carried(id), sourceOf(connector), type, at);
  return headers;
}

function sourceOf(connector: string): string {
  return `/connectors/${connector}`;
}

/** One by one: to assign an object to another costs as much as the rest of a message. The id is printable. */
function addEventHeaders(headers: Record<string, unknown>, id: string, source: string, type: string, at: number): void {
  headers['ce-specversion'] = '1.0';
  headers['ce-id'] = id;
  headers['ce-source'] = source;
  headers['ce-type'] = type;
  headers['ce-time'] = isoTime(at);
}
