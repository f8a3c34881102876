import { messageOf, MillraceError } from '../contracts/errors.ts';
import type { DeadLetterFilter } from '../contracts/queue.ts';
import { listDeadLetters } from './dead-letter-pages.ts';
import type { ManagementServices } from './services.ts';

/** What a bulk replay tells as it goes; the last line has `done`. */
export interface ReplayProgress {
  readonly total: number;
  readonly replayed: number;
  readonly failed: readonly ReplayFailure[];
  /** Dead letters that match and were left for another run, when the limit was lower or the run ended early. */
  readonly left: number;
  readonly done: boolean;
}

export interface ReplayFailure {
  readonly id: string;
  readonly code: string;
  readonly message: string;
}

const pageSize = 500;
/** After so many failures in a row the reason is not in the letters. */
const failuresInARow = 20;

/**
 * Replays what matches, the oldest first, so that what was accepted in an order runs in it again. Each letter leaves in
 * the step that makes its new invocation: a run that was cut off is finished by the next one, and none runs twice.
 */
export async function* replayAll(
  services: ManagementServices,
  filter: DeadLetterFilter,
  options: { readonly limit: number; readonly to: string | undefined; readonly signal: AbortSignal },
): AsyncGenerator<ReplayProgress, void> {
  const { letters, matched } = await oldest(services, filter, options.limit);
  const total = letters.length;
  const failed: ReplayFailure[] = [];
  let replayed = 0;
  let passed = 0;
  let inARow = 0;
  const progress = (done: boolean): ReplayProgress => ({ total, replayed, failed, left: matched - passed, done });
  yield progress(false);
  for (const { queueName, id } of letters) {
    if (options.signal.aborted || inARow >= failuresInARow) break;
    passed++;
    try {
      // Whoever took the letter away meanwhile wanted it away.
      const taken = await services.queues
        .get(queueName)
        ?.deadLetters.replay(id, { id: services.nextId(), to: options.to });
      if (taken === true) replayed++;
      inARow = 0;
    } catch (error) {
      inARow++;
      failed.push({ id, code: error instanceof MillraceError ? error.code : 'internal', message: messageOf(error) });
    }
    yield progress(false);
  }
  yield progress(true);
}

/** The oldest `limit` that match, oldest first. Ids only, and never more than twice the limit of them in memory. */
async function oldest(
  { queues }: ManagementServices,
  filter: DeadLetterFilter,
  limit: number,
): Promise<{ letters: { queueName: string; id: string }[]; matched: number }> {
  let letters: { queueName: string; id: string }[] = [];
  let matched = 0;
  let cursor: string | undefined;
  do {
    const page = await listDeadLetters(queues, filter, pageSize, cursor);
    matched += page.items.length;
    for (const { queueName, letter } of page.items) letters.push({ queueName, id: letter.id });
    if (letters.length > 2 * limit) letters = letters.slice(-limit);
    cursor = page.cursor;
  } while (cursor !== undefined);
  return { letters: letters.slice(-limit).toReversed(), matched };
}
