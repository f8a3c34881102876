import type { Headers } from '../contracts/invocation.ts';

const headerName = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const printable = /^[\t\x20-\x7e]*$/;

/** What a source says of a message that is no CloudEvent, so that it becomes one. */
export interface EventSource {
  /** Of the message: the same whenever it is handed out again, where the source can tell. */
  readonly id: string;
  /** `/connectors/NAME` */
  readonly source: string;
  readonly type: string;
  readonly subject?: string | undefined;
  /** Wall clock, ms. */
  readonly at: number;
}

/** Text as a header can carry it: percent-encoded where it is not printable ASCII. */
export function headerText(text: string): string {
  return printable.test(text) ? text : encodeURI(text);
}

/** A broker's headers as a function gets them: names in lower case, nothing that HTTP could not carry. */
export function headersOfMessage(
  entries: Iterable<readonly [name: string, values: readonly string[]]>,
): Record<string, string | readonly string[]> {
  const headers: Record<string, string | readonly string[]> = {};
  for (const [name, given] of entries) {
    if (!headerName.test(name) || name === '__proto__') continue;
    const values = given.map((value) => (printable.test(value) ? value : encodeURIComponent(value)));
    const [only = ''] = values;
    headers[name.toLowerCase()] = values.length === 1 ? only : values;
  }
  return headers;
}

/**
 * The attributes of the event as headers of the HTTP binding, which are those of the NATS binding as well
 * (https://github.com/cloudevents/spec, bindings). None where it is an event already, binary or structured.
 */
export function eventHeaders(headers: Headers, { id, source, type, subject, at }: EventSource): Record<string, string> {
  const isStructured = String(headers['content-type']).startsWith('application/cloudevents');
  if (headers['ce-specversion'] !== undefined || isStructured) return {};
  return {
    'ce-specversion': '1.0',
    'ce-id': id,
    'ce-source': source,
    'ce-type': type,
    ...(subject !== undefined && { 'ce-subject': headerText(subject) }),
    'ce-time': new Date(at).toISOString(),
  };
}
