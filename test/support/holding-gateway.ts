import { createInterface } from 'node:readline';
import { sleep } from '../../core/contracts/clock.ts';
import type { Lease, Queue } from '../../core/contracts/queue.ts';

/**
 * What a gateway of a test does in a process of its own: leases one message, extends it for ever, and prints what it
 * leased. On a line of input it acknowledges what it has, and prints what came of that.
 */
export async function hold(queue: Queue): Promise<void> {
  const print = (line: string): boolean => process.stdout.write(`${line}\n`);
  const held: Lease[] = [];
  // As the lanes of a gateway do it, and a little more often.
  setInterval(() => {
    for (const { receipt } of held) void queue.extend(receipt, 30_000).catch(() => {});
  }, 5000);
  createInterface({ input: process.stdin }).on('line', () => {
    const [lease] = held.splice(0, 1);
    if (!lease) return;
    const result = { status: 200, headers: {}, body: Buffer.from('late') };
    // As the lanes do it: while the broker is away, or is taken for that after a stop, it is said again.
    const settle = (): Promise<string> =>
      queue.settle(lease.receipt, { kind: 'ack', result }).catch(() => sleep(100).then(settle));
    void settle().then(print);
  });
  print('open');
  const signal = new AbortController().signal;
  const [lease] = await queue.lease('work.default', 1, { ttlMs: 30_000, waitMs: 60_000, signal });
  if (lease) {
    held.push(lease);
    print(`${lease.message.id} ${lease.attempt}`);
  }
}
