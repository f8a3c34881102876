import type { SourceMessage } from '../contracts/message.ts';
import { bufferOf } from './body.ts';
import { headerName } from './headers.ts';

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

/**
 * A broker's message as a function sees it: its own headers, with names in lower case and nothing that HTTP could not
 * carry; where it came from; and what it is as a CloudEvent, unless it is one already.
 */
export function headersOfMessage(
  { topic, id, at, headers: given, extra }: SourceMessage,
  kind: string,
  connector: string,
): Record<string, string | readonly string[]> {
  const headers: Record<string, string | readonly string[]> = {};
  for (const [name, all] of given) {
    if (!headerName.test(name) || name === '__proto__') continue;
    const values = all.map((value) => (printable.test(value) ? value : encodeURIComponent(value)));
    const [only = ''] = values;
    headers[name.toLowerCase()] = values.length === 1 ? only : values;
  }
  const subject = printable.test(topic) ? topic : encodeURI(topic);
  // Binary or structured.
  const isEvent = headers['ce-specversion'] !== undefined;
  if (!isEvent && !String(headers['content-type']).startsWith('application/cloudevents')) {
    Object.assign(headers, eventHeaders({ id, connector, at, type: `millrace.${kind}.message` }));
    headers['ce-subject'] = subject;
  }
  headers['x-connector'] = kind;
  headers['x-topic'] = subject;
  return extra ? Object.assign(headers, extra) : headers;
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
  return {
    'ce-specversion': '1.0',
    'ce-id': id,
    'ce-source': `/connectors/${connector}`,
    'ce-type': type,
    'ce-time': new Date(at).toISOString(),
  };
}
