/**
 * Queues next to each other, in turn: `node bench/queues.ts [--jobs 20000] [--rounds 4] [NAME…]`. Everything is drained
 * with 32 functions at a time that do nothing. A name is a kind of queue, or a peer; `@SETTING` is that of the broker:
 * `redis@always bullmq@always` are two queues on one Redis with `appendfsync always`, `kafka@sync` has Kafka sync each
 * entry. Ratios are to the last name.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { systemClock } from '../core/contracts/clock.ts';
import { createId } from '../core/delivery/ids.ts';
import { memoryConfig } from '../plugins/queues/memory/index.ts';
import { MemoryQueue } from '../plugins/queues/memory/queue.ts';
import { dial as dialNats, jetstreamQueue } from '../test/contract/jetstream-bench.ts';
import { dial as dialKafka, queueOn as kafkaQueue } from '../test/contract/kafka-bench.ts';
import { sqliteQueue } from '../test/contract/sqlite-bench.ts';
import { redisConnection, redisQueue } from '../test/contract/redis-bench.ts';
import { type BrokerKind, type OwnBroker, startBroker } from '../test/support/brokers.ts';
import { floors, median, quantile } from './measure.ts';
import { bullmqSide } from './sides/bullmq.ts';
import { queueSide, type Side } from './sides/side.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { jobs: { type: 'string', default: '20000' }, rounds: { type: 'string', default: '4' } },
});
const jobs = Number(values.jobs);
const rounds = Number(values.rounds);
const names = positionals.length > 0 ? positionals : ['redis@everysec', 'bullmq@everysec'];
// On the disk of the sources and not in /tmp, which may be memory.
const folder = mkdtempSync(join(import.meta.dirname, '..', '.bench-'));
const servers = new Map<string, OwnBroker>();

/** One broker a kind and setting, so that those who are compared are compared on the same. */
async function serverOf(kind: BrokerKind, settings: readonly string[] = []): Promise<string> {
  const key = [kind, ...settings].join(' ');
  const server = servers.get(key) ?? (await startBroker(kind, { parent: folder, settings }));
  servers.set(key, server);
  return server.url;
}

const redis = (appendfsync: string): Promise<string> => serverOf('redis', [`appendfsync ${appendfsync}`]);

const makers: Readonly<Record<string, (setting: string) => Promise<Side>>> = {
  memory: async () => {
    const queue = new MemoryQueue(memoryConfig.parse({ allowVolatile: true }), systemClock);
    await queue.start();
    return queueSide(queue, async () => {});
  },
  sqlite: async () => {
    const queue = sqliteQueue(join(folder, `${createId(Date.now())}.sqlite`), systemClock);
    await queue.start();
    return queueSide(queue, async () => {});
  },
  redis: async (setting) => {
    const connection = redisConnection(await redis(setting));
    await connection.start();
    const queue = redisQueue(connection, { name: createId(Date.now()) });
    await queue.start();
    return queueSide(queue, () => connection.stop());
  },
  jetstream: async () => {
    const nats = await dialNats(await serverOf('nats'));
    const queue = jetstreamQueue(nats, createId(Date.now()));
    await queue.start();
    return queueSide(queue, () => nats.stop(1000));
  },
  kafka: async (setting) => {
    const kafka = await dialKafka(await serverOf('kafka'));
    const queue = kafkaQueue(kafka, createId(Date.now()), { sync: setting === 'sync' });
    await queue.start();
    return queueSide(queue, () => kafka.stop());
  },
  bullmq: async (setting) => bullmqSide(await redis(setting)),
};

async function perSecond(count: number, work: (count: number) => Promise<void>): Promise<number> {
  const startedAt = performance.now();
  await work(count);
  return Math.round((count / (performance.now() - startedAt)) * 1000);
}

async function measure(name: string): Promise<Record<string, number>> {
  const [kind = '', setting = 'everysec'] = name.split('@');
  const make = makers[kind];
  if (!make) throw new Error(`there is no ${kind} to measure; there are ${Object.keys(makers).join(', ')}`);
  const side = await make(setting);
  await side.accept(1000);
  await side.drain(1000);
  const accept = await perSecond(jobs, side.accept);
  const drain = await perSecond(jobs, side.drain);
  const late = (await side.latencies(200)).toSorted((a, b) => a - b);
  await side.close();
  return { 'accept/s': accept, 'drain/s': drain, 'p50 ms': quantile(late, 0.5), 'p99 ms': quantile(late, 0.99) };
}

console.log(await floors());
const found = new Map<string, Record<string, number>[]>(names.map((name) => [name, []]));
for (let round = 0; round < rounds; round++) {
  // In turn, and back again, so that what else the machine does meets all alike.
  for (const name of round % 2 === 0 ? names : names.toReversed()) found.get(name)?.push(await measure(name));
}
const peer = found.get(names.at(-1) ?? '') ?? [];
for (const what of Object.keys(peer[0] ?? {})) {
  for (const [name, figures] of found) {
    const each = figures.map((figure) => figure[what] ?? Number.NaN);
    const ratio = median(each.map((value, round) => value / (peer[round]?.[what] ?? Number.NaN)));
    const all = each.map((value) => Number(value.toFixed(2))).join(' ');
    console.log(
      `${what.padEnd(9)} ${name.padEnd(16)} ${median(each).toFixed(2).padStart(9)}  ratio ${ratio.toFixed(2)}  [${all}]`,
    );
  }
}
for (const server of servers.values()) await server.dispose();
rmSync(folder, { recursive: true, force: true });
process.exit(0);
