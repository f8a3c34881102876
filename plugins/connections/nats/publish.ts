import { headers as createHeaders, type MsgHdrs, type NatsConnection as Client } from 'nats';
import type { OutgoingMessage } from '../../../core/contracts/connection.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';

const timeoutMs = 5000;

/**
 * Publishes to the stream that takes the subject, and waits until it has it; where there is none, to whoever listens, as
 * core NATS does. A stream is given the event's id, so that it knows what it is given again.
 */
export async function publish(client: Client, { to, headers, body }: OutgoingMessage): Promise<void> {
  const maxBytes = client.info?.max_payload ?? 2 ** 20;
  if (body.byteLength > maxBytes) {
    throw new MillraceError('config.invalid', `the message has ${body.byteLength} bytes; the server takes ${maxBytes}`);
  }
  const named = natsHeaders(headers);
  if (await isKept(client, to)) {
    const id = headers['ce-id'];
    await client.jetstream().publish(to, body, {
      headers: named,
      timeout: timeoutMs,
      ...(typeof id === 'string' && { msgID: id }),
    });
    return;
  }
  client.publish(to, body, { headers: named });
  await client.flush();
}

async function isKept(client: Client, subject: string): Promise<boolean> {
  const manager = await client.jetstreamManager({ checkAPI: false, timeout: timeoutMs });
  try {
    await manager.streams.find(subject);
    return true;
  } catch (error) {
    // There is no such stream, or no JetStream at all.
    if (messageOf(error).includes('no stream matches') || (error as { readonly code?: unknown }).code === '503')
      return false;
    throw error;
  }
}

function natsHeaders(from: OutgoingMessage['headers']): MsgHdrs {
  const made = createHeaders();
  for (const [name, value] of Object.entries(from)) for (const each of [value].flat()) made.append(name, each);
  return made;
}
