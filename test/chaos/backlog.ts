import { systemClock } from '../../core/contracts/clock.ts';
import { createId } from '../../core/delivery/ids.ts';
import { sqliteQueue } from '../contract/sqlite-bench.ts';
import { plainMessage } from '../support/plain-message.ts';

/** Puts so many messages for the function `ok` into the file of a queue. */
export async function fill(path: string, count: number): Promise<void> {
  const queue = sqliteQueue(path, systemClock);
  await queue.start();
  for (let left = count; left > 0; left -= 500) {
    const batch = Array.from({ length: Math.min(left, 500) }, () => createId(Date.now()));
    await queue.enqueue(batch.map((id) => plainMessage(id, { lane: 'ok.openfaas-fn', body: Buffer.alloc(500, id) })));
  }
  await queue.stop(30_000);
}
