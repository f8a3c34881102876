import type { z } from 'zod';
import type { Headers } from '../contracts/invocation.ts';
import type { FoundLetter } from './dead-letter-pages.ts';
import { viewOfError } from './invocations.ts';
import { isoTime } from '../kit/time.ts';
import type { deadLetterView } from './schemas.ts';

/** Names of headers whose values open doors. */
const sensitive = /authorization|cookie|secret|token|passw|api-?key|credential|signature/i;

/** A dead letter for people: whole, but for what would let a reader act as the sender. */
export function viewOfLetter({ letter, queueName }: FoundLetter): z.input<typeof deadLetterView> {
  const { envelope } = letter;
  return {
    id: letter.id,
    function: letter.lane,
    queue: queueName,
    reason: letter.reason,
    attempt: letter.attempt,
    diedAt: isoTime(letter.diedAt),
    acceptedAt: isoTime(envelope.acceptedAt),
    callId: envelope.callId,
    method: envelope.method,
    path: envelope.path,
    query: envelope.query,
    headers: masked(envelope.headers),
    source: envelope.source,
    bodyBytes: letter.bodyBytes,
    errors: letter.errors.map(viewOfError),
    ...(envelope.callbackUrl !== undefined && { callbackUrl: envelope.callbackUrl }),
    ...(envelope.replayOf !== undefined && { replayOf: envelope.replayOf }),
  };
}

function masked(headers: Headers): Record<string, string | string[]> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => {
      if (sensitive.test(name)) return [name, '[masked]'];
      return [name, typeof value === 'string' ? value : [...value]];
    }),
  );
}
