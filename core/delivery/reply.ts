import type { Connection, OutgoingMessage } from '../contracts/connection.ts';
import { messageOf, MillraceError } from '../contracts/errors.ts';
import type { Headers, ReplyTarget } from '../contracts/invocation.ts';
import type { Call, Provider } from '../contracts/provider.ts';
import { systemNamespace } from '../contracts/provider.ts';
import { bytesOf, jsonOf } from '../kit/body.ts';
import { dataMember } from '../kit/event.ts';
import { failed } from '../kit/outcome.ts';
import { ownProvider, ownSpec } from './own-function.ts';

/** The function of Millrace's own that publishes outcomes. Its lane holds them, so they are retried like anything else. */
export const replyFunction = `reply.${systemNamespace}`;

export const replySpec = ownSpec(replyFunction);

/** A target as the path of an invocation, which is what a queue keeps of it. */
export function pathOf({ connection, to, key, structured }: ReplyTarget): string {
  return `/${[connection, to, key ?? '', structured ? 'structured' : 'binary'].map(encodeURIComponent).join('/')}`;
}

function targetOf(path: string): ReplyTarget {
  const [, connection = '', to = '', key = '', mode] = path.split('/').map(decodeURIComponent);
  return { connection, to, key: key === '' ? undefined : key, structured: mode === 'structured' };
}

/** The provider of that function. What a broker refuses for good is a dead letter; what may pass is tried again. */
export function replyProvider(connectionOf: (name: string) => Connection | undefined): Provider {
  const publish = async ({ invocation }: Call): Promise<void> => {
    const { connection: name, to, key, structured } = targetOf(invocation.path);
    const connection = connectionOf(name);
    if (!connection?.publish) {
      throw new MillraceError('connection.unavailable', `connection "${name}" is not running, or cannot publish`);
    }
    const plain = { to, key, headers: invocation.headers, body: bytesOf(invocation.body) };
    await connection.publish(structured ? structuredMessage(plain) : plain);
  };
  return ownProvider(async (call) => {
    const begun = performance.now();
    const elapsedMs = (): number => performance.now() - begun;
    try {
      await publish(call);
      return { status: 202, headers: {}, body: null, durationMs: elapsedMs(), failure: undefined, error: undefined };
    } catch (error) {
      const isFinal = error instanceof MillraceError && error.code === 'config.invalid';
      const code = isFinal ? 'config.invalid' : 'connection.unavailable';
      return failed(isFinal ? 'refused' : 'connection', { code, message: messageOf(error) }, elapsedMs());
    }
  });
}

/** https://github.com/cloudevents/spec, json-format. */
function structuredMessage({ headers, body, ...message }: OutgoingMessage): OutgoingMessage {
  const event: Record<string, unknown> = {};
  const rest: Record<string, string | readonly string[]> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith('ce-')) event[name.slice(3)] = String(value);
    else if (name !== 'content-type') rest[name] = value;
  }
  const type = headers['content-type'];
  if (type !== undefined) event['datacontenttype'] = String(type);
  if (body.byteLength > 0) Object.assign(event, dataOf(body, type));
  const withType: Headers = { ...rest, 'content-type': 'application/cloudevents+json' };
  return { ...message, headers: withType, body: Buffer.from(JSON.stringify(event)) };
}

function dataOf(body: Uint8Array, type: Headers[string] | undefined): Readonly<Record<string, unknown>> {
  // What only says that it is JSON is none.
  const json = /[/+]json\b/.test(String(type)) ? jsonOf(body) : undefined;
  return json === undefined ? dataMember(body) : { data: json };
}
