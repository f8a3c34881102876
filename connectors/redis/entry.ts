import { headerName } from '../../core/kit/headers.ts';

/** Field and value, in turn, as Redis gives them. */
export type Fields = readonly Buffer[];

export interface EntryContent {
  readonly headers: ReadonlyMap<string, readonly string[]>;
  readonly body: Uint8Array;
}

/** Fields that are the body where none is named, in this order. */
const usualBodies = ['body', 'data', 'payload'] as const;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();
const noHeaders: EntryContent['headers'] = new Map();
const attribute = /^ce[-_]([a-z0-9]+)$/;

/**
 * What an entry of a stream is as a message. One field is the body, byte by byte, and the others are headers. Without such
 * a field, or with several of its name, all of it is the body, as a JSON object: fields that come twice as lists, bytes that are no text in base64
 * under the name with `_base64` at its end, as CloudEvents has it. An entry that is a CloudEvent needs no body.
 */
export function contentOf(fields: Fields, bodyField: string | undefined): EntryContent {
  const [first, only] = fields;
  // Most are a body and nothing else.
  if (only && fields.length === 2 && isBody(String(first), bodyField))
    return { headers: noHeaders, body: viewOf(only) };
  const byName = new Map<string, Buffer[]>();
  for (let at = 0; at + 1 < fields.length; at += 2) {
    const name = fields[at]?.toString() ?? '';
    const value = fields[at + 1] ?? Buffer.alloc(0);
    const present = byName.get(name);
    if (present) present.push(value);
    else byName.set(name, [value]);
  }
  const chosen = bodyField ?? usualBodies.find((name) => byName.has(name));
  const event = eventIn(byName);
  const [body, ...more] = byName.get(chosen ?? '') ?? [];
  if (more.length > 0 || (!body && !event)) {
    return { headers: new Map([['content-type', ['application/json']]]), body: encoder.encode(jsonOf(byName)) };
  }
  const headers = new Map<string, readonly string[]>();
  for (const [name, values] of byName) {
    if (name !== chosen) headers.set(headerOf(name, event), values.map(headerValueOf));
  }
  return { headers, body: body ? viewOf(body) : new Uint8Array(0) };
}

function isBody(name: string, bodyField: string | undefined): boolean {
  return bodyField === undefined ? usualBodies.some((usual) => usual === name) : name === bodyField;
}

function viewOf({ buffer, byteOffset, byteLength }: Buffer): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** Attributes with a prefix, as in the bindings of HTTP and Kafka, or without one, as in the JSON format. */
function eventIn(fields: ReadonlyMap<string, unknown>): 'prefixed' | 'bare' | undefined {
  if (fields.has('ce-specversion') || fields.has('ce_specversion')) return 'prefixed';
  return ['specversion', 'id', 'source', 'type'].every((name) => fields.has(name)) ? 'bare' : undefined;
}

function headerOf(name: string, event: ReturnType<typeof eventIn>): string {
  if (event === undefined || !headerName.test(name)) return name;
  const bare = event === 'bare' ? name : attribute.exec(name)?.[1];
  if (bare === 'datacontenttype') return 'content-type';
  return bare !== undefined && /^[a-z0-9]+$/.test(bare) ? `ce-${bare}` : name;
}

/** Bytes that are no text are percent-encoded, all of them. */
function headerValueOf(value: Buffer): string {
  return textOf(value) ?? value.toString('hex').replaceAll(/../g, '%$&').toUpperCase();
}

function jsonOf(fields: ReadonlyMap<string, readonly Buffer[]>): string {
  const object: [name: string, value: unknown][] = [];
  for (const [name, values] of fields) {
    const texts = values.map(textOf);
    const isText = texts.every((text) => text !== undefined);
    const shown = isText ? texts : values.map((value) => value.toString('base64'));
    object.push([isText ? name : `${name}_base64`, shown.length === 1 ? shown[0] : shown]);
  }
  return JSON.stringify(Object.fromEntries(object));
}

function textOf(value: Buffer): string | undefined {
  try {
    return utf8.decode(value);
  } catch {
    return undefined;
  }
}
