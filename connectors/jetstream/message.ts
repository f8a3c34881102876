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

/** $JS.ACK.[DOMAIN.ACCOUNT.]STREAM.CONSUMER.DELIVERED.STREAM-SEQ.CONSUMER-SEQ.NANOSECONDS.PENDING[.RANDOM] */
const acknowledgement =
  /^\$JS\.ACK\.(?:[^.]+\.[^.]+\.)?[^.]+\.[^.]+\.([1-9]\d{0,8})\.(\d{1,20})\.\d+\.(\d{1,19})\.(\d{1,15})(?:\.[^.]+)?$/;

/** It is in the subject of the acknowledgement. Throws when that is none: anybody may publish to where answers come. */
export function lentOf({ reply = '' }: Msg): Lent {
  const [, deliveries, sequence = '', nanoseconds = '', pending] = acknowledgement.exec(reply) ?? [];
  if (pending === undefined) throw new Error(`no message of a stream is acknowledged by ${reply}`);
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
