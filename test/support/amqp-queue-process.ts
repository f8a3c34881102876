// A gateway's queue in a process of its own: `node amqp-queue-process.ts URL STREAMS`. It leases one message after
// another, extends what it has, and prints what it leased. On a line `settle` it acknowledges what it has first, and
// prints what came of that.
import { createInterface } from 'node:readline';
import { sleep } from '../../core/contracts/clock.ts';
import type { Lease } from '../../core/contracts/queue.ts';
import { dial, queueOn } from '../contract/amqp-bench.ts';

const [, , url = '', streams = ''] = process.argv;
const print = (line: string): boolean => process.stdout.write(`${line}\n`);
const queue = queueOn(await dial(url), streams);
await queue.start();
const held: Lease[] = [];
// As the lanes of a gateway do it, and a little more often.
setInterval(() => {
  for (const { receipt } of held) void queue.extend(receipt, 30_000).catch(() => {});
}, 5000);
createInterface({ input: process.stdin }).on('line', () => {
  const [lease] = held.splice(0, 1);
  if (!lease) return;
  const result = { status: 200, headers: {}, body: Buffer.from('late') };
  // As the lanes of a gateway do it: the connection may have ended while the process was stopped.
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
