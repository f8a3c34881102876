// A process of its own with a queue: `node redis-queue-process.ts URL NAME TTL_MS`. Leases one message for so long and
// prints its id and attempt; acknowledges it at each line that it is told, and prints what it was answered.
import { createInterface } from 'node:readline';
import { redisConnection, redisQueue } from '../contract/redis-bench.ts';

const [, , url = '', name = '', ttlMs] = process.argv;
const print = (line: string): boolean => process.stdout.write(`${line}\n`);
const connection = redisConnection(url);
await connection.start();
const queue = redisQueue(connection, { name });
await queue.start();
const signal = new AbortController().signal;
const [lease] = await queue.lease('work.default', 1, { ttlMs: Number(ttlMs), waitMs: 10_000, signal });
if (!lease) throw new Error('there was nothing to lease');
print(`${lease.message.id} ${lease.attempt}`);
for await (const _line of createInterface({ input: process.stdin })) {
  print(await queue.settle(lease.receipt, { kind: 'ack' }));
}
