import type { Msg } from 'nats';
import type { SourceMessage } from '../../core/contracts/message.ts';

/** What the server says of a message that it lends. */
export interface Lent {
  /** How often it was given, this time included. */
  readonly deliveries: number;
  readonly sequence: string;
  /** Since 1970. */
  readonly nanoseconds: string;
  /** Messages of the consumer that come after it. */
  readonly pending: number;
}

const noHeaders: SourceMessage['headers'] = [];

/** It is in the subject of the acknowledgement. Throws when that is none. */
export function lentOf({ reply = '' }: Msg): Lent {
  // $JS.ACK.[DOMAIN.ACCOUNT.]STREAM.CONSUMER.DELIVERED.STREAM-SEQ.CONSUMER-SEQ.NANOSECONDS.PENDING[.RANDOM]
  const parts = reply.split('.');
  const at = parts.length > 9 ? 6 : 4;
  const [deliveries, sequence = '', , nanoseconds = '', pending] = parts.slice(at, at + 5);
  if (pending === undefined || parts[1] !== 'ACK')
    throw new Error(`no message of a stream is acknowledged by ${reply}`);
  return { deliveries: Number(deliveries), sequence, nanoseconds, pending: Number(pending) };
}

export function sourceMessageOf(
  stream: string,
  message: Msg,
  { deliveries, sequence, nanoseconds }: Lent,
): SourceMessage {
  const id = `${stream}:${sequence}`;
  return {
    topic: message.subject,
    id,
    // A stream that was made anew counts from 1 again.
    dedupId: `${id}:${nanoseconds}`,
    at: Math.floor(Number(nanoseconds) / 1_000_000),
    headers: message.headers ?? noHeaders,
    extra: { 'x-nats-stream': stream, 'x-nats-sequence': sequence },
    body: message.data,
    attempt: deliveries,
  };
}
