import type { IPublishPacket } from 'mqtt';
import type { SourceMessage } from '../../core/contracts/message.ts';

type Header = readonly [name: string, values: readonly string[]];

const encoder = new TextEncoder();

/** The trace context is an extension of events by the same name, and a header of its own. */
const traceContext = new Set(['traceparent', 'tracestate']);

/**
 * What a message says. Version 5 has user properties, which are headers, and those of an event its attributes
 * (https://github.com/cloudevents/spec, MQTT binding); version 3.1.1 says nothing but topic and payload.
 */
export function sourceMessageOf(
  message: IPublishPacket,
  { id, at, contentType }: { readonly id: string; readonly at: number; readonly contentType: string | undefined },
): SourceMessage {
  const { topic, payload, dup, properties } = message;
  return {
    topic,
    id,
    hasPlainId: true,
    at,
    headers: headersOf(properties, contentType),
    extra: extraOf(message),
    body: typeof payload === 'string' ? encoder.encode(payload) : viewOf(payload),
    attempt: dup ? 2 : 1,
  };
}

function extraOf({ qos, retain, dup, properties }: IPublishPacket): Record<string, string> {
  const extra: Record<string, string> = {
    'x-mqtt-qos': String(qos),
    'x-mqtt-retain': String(retain),
    'x-mqtt-duplicate': String(dup),
  };
  const { responseTopic, correlationData } = properties ?? {};
  if (responseTopic !== undefined) extra['x-mqtt-response-topic'] = encoded(responseTopic);
  if (correlationData) extra['x-mqtt-correlation-data'] = base64Of(correlationData);
  return extra;
}

function headersOf(properties: IPublishPacket['properties'], standard: string | undefined): readonly Header[] {
  const headers: Header[] = [];
  const said = Object.entries(properties?.userProperties ?? {});
  const isEvent = said.some(([name]) => name === 'specversion');
  for (const [name, value] of said) {
    const values = [value].flat();
    const isAttribute = isEvent && /^[a-z0-9]+$/.test(name);
    if (isAttribute) headers.push([`ce-${name}`, values.map(encoded)]);
    if (!isAttribute || traceContext.has(name)) headers.push([name, values]);
  }
  const contentType = properties?.contentType ?? standard;
  if (contentType !== undefined) headers.push(['content-type', [contentType]]);
  return headers;
}

/** As the HTTP binding of events has attributes: what is no printable ASCII, the space, and two more, in percent signs. */
function encoded(value: string): string {
  return value.replaceAll(/[^\u0021\u0023\u0024\u0026-\u007E]+/gu, (text) => encodeURIComponent(text));
}

function viewOf({ buffer, byteOffset, byteLength }: Buffer): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function base64Of(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}
