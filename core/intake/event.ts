import type { SourceMessage } from '../contracts/message.ts';
import { bufferOf, jsonOf } from '../kit/body.ts';
import { dataMember } from '../kit/event.ts';

type Headers = Readonly<Record<string, string | readonly string[]>>;

const attributeNames = ['specversion', 'id', 'source', 'type', 'subject', 'time', 'datacontenttype'] as const;

/** What filters and expressions see of a message: a CloudEvent, and how it came. */
export interface EventView extends Partial<Record<(typeof attributeNames)[number], string>> {
  /** JSON where it is JSON, else text. */
  readonly data: unknown;
  /** Names in lower case. */
  readonly headers: Headers;
  readonly topic: string;
  readonly key: string | undefined;
  /** Attributes that extend the standard. */
  readonly [extension: string]: unknown;
}

/** Reads it; what says that it is JSON and is not stays text. */
export function eventOf({ topic, key, body }: SourceMessage, headers: Headers): EventView {
  const how = { headers, topic, key };
  const type = String(headers['content-type'] ?? '');
  if (isStructured(type)) {
    const event = jsonOf(body);
    if (typeof event === 'object' && event !== null && !Array.isArray(event)) {
      const { data, data_base64: base64, ...attributes } = event as Record<string, unknown>;
      const bytes =
        typeof base64 === 'string' ? dataOf(Buffer.from(base64, 'base64'), attributes['datacontenttype']) : data;
      return { ...attributes, ...how, data: bytes };
    }
  }
  const attributes: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith('ce-')) attributes[name.slice(3)] = percentDecoded(String(value));
  }
  if (type !== '') attributes['datacontenttype'] = type;
  let read: { readonly data: unknown } | undefined;
  return {
    ...attributes,
    ...how,
    // Only for whoever looks into it: reading what is no JSON costs more than all else that is done with a message.
    get data() {
      read ??= { data: dataOf(body, type) };
      return read.data;
    },
  };
}

/** The event as an item of the JSON batch format (https://github.com/cloudevents/spec, json-format). */
export function structured(view: EventView, body: Uint8Array): Record<string, unknown> {
  const { data, headers, topic: _topic, key: _key, ...attributes } = view;
  if (isStructured(String(headers['content-type'] ?? ''))) return { ...attributes, data };
  if (body.byteLength === 0) return attributes;
  if (typeof data !== 'string') return { ...attributes, datacontenttype: 'application/json', data };
  return { ...attributes, ...dataMember(body, data) };
}

function isStructured(type: string): boolean {
  return type.startsWith('application/cloudevents') && !type.startsWith('application/cloudevents-batch');
}

function dataOf(body: Uint8Array, type: unknown): unknown {
  const mayBeJson = type === undefined || type === '' || (typeof type === 'string' && /[/+]json\b/.test(type));
  return (mayBeJson ? jsonOf(body) : undefined) ?? bufferOf(body).toString();
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
