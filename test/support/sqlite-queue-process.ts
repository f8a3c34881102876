// A process of its own with a queue: `node sqlite-queue-process.ts PATH enqueue|lease|hold`. Prints what it was told.
import { systemClock } from '../../core/contracts/clock.ts';
import { messageOf, MillraceError } from '../../core/contracts/errors.ts';
import { createId } from '../../core/delivery/ids.ts';
import { sqliteQueue } from '../contract/sqlite-bench.ts';
import { plainMessage } from './plain-message.ts';

const [, , path = '', task] = process.argv;
const print = (line: string): boolean => process.stdout.write(`${line}\n`);
const queue = sqliteQueue(path, systemClock);

const refusal = await queue.start().then(
  () => undefined,
  (error: unknown) => error,
);
print(refusal instanceof MillraceError ? `${refusal.code} ${refusal.message}` : refusal ? messageOf(refusal) : 'open');

if (task === 'lease' && !refusal) {
  const signal = new AbortController().signal;
  const [lease] = await queue.lease('work.default', 1, { ttlMs: 3_600_000, waitMs: 0, signal });
  print(`${lease?.message.id} ${lease?.attempt}`);
}

/** Several at a time, so that the kill finds a batch under way. */
async function enqueueForEver(): Promise<void> {
  for (;;) {
    const message = plainMessage(createId(Date.now()));
    await queue.enqueue([message]);
    print(message.id);
  }
}
if (task === 'enqueue' && !refusal) await Promise.all(Array.from({ length: 16 }, enqueueForEver));
