/**
 * The queue on Redis next to BullMQ, on one Redis, in turn: `node bench/redis.ts [jobs] [rounds]`. Once with
 * `appendfsync everysec`, once with `always`. Both drain with 32 jobs at a time whose function does nothing, and both
 * keep the record of what succeeded.
 */
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { Queue as BullQueue, Worker } from 'bullmq';
import { createId } from '../core/delivery/ids.ts';
import { redisConnection, redisQueue } from '../test/contract/redis-bench.ts';
import { plainMessage } from '../test/support/plain-message.ts';
import { startBroker } from '../test/support/own-redis.ts';
import { floors, median, quantile } from './measure.ts';

const jobs = Number(process.argv[2] ?? 20_000);
const rounds = Number(process.argv[3] ?? 4);
const concurrency = 32;
const body = Buffer.alloc(256, 'b');
const lane = 'work.default';
const signal = new AbortController().signal;
// On the disk of the sources and not in /tmp, which may be memory.
const root = join(import.meta.dirname, '..');

interface Side {
  /** One at a time from 32 callers; each is waited for. */
  readonly accept: (count: number) => Promise<void>;
  readonly fill: (count: number) => Promise<void>;
  /** Resolves when that many have been run and acknowledged. */
  readonly drain: (count: number) => Promise<void>;
  /** From the call that enqueues to the begin of the run, one after another, ms. */
  readonly latencies: (count: number) => Promise<number[]>;
  readonly close: () => Promise<void>;
}

async function parallel(count: number, work: () => Promise<unknown>): Promise<void> {
  let left = count;
  await Promise.all(
    Array.from({ length: concurrency }, async () => {
      while (left-- > 0) await work();
    }),
  );
}

async function millrace(url: string): Promise<Side> {
  const connection = redisConnection(url);
  await connection.start();
  const queue = redisQueue(connection, { name: createId(Date.now()) });
  await queue.start();
  const message = (): ReturnType<typeof plainMessage> => plainMessage(createId(Date.now()), { body });
  /** As many leases as there are free slots; what has been run is settled by itself, as the gateway does. */
  const consume = async (count: number, run: () => Promise<void>): Promise<void> => {
    let free = concurrency;
    let done = 0;
    let wake = (): void => {};
    while (done < count) {
      if (free === 0) await new Promise<void>((resolve) => (wake = resolve));
      const leases = await queue.lease(lane, Math.max(1, free), { ttlMs: 30_000, waitMs: 100, signal });
      free -= leases.length;
      for (const { receipt } of leases) {
        void run()
          .then(() => queue.settle(receipt, { kind: 'ack' }))
          .then(() => {
            free++;
            done++;
            wake();
          });
      }
    }
  };
  return {
    accept: (count) => parallel(count, () => queue.enqueue([message()])),
    fill: async (count) => {
      for (let from = 0; from < count; from += 500) {
        await queue.enqueue(Array.from({ length: Math.min(500, count - from) }, message));
      }
    },
    drain: (count) => consume(count, async () => {}),
    latencies: async (count) => {
      const found: number[] = [];
      for (let round = 0; round < count; round++) {
        const started = queue.lease(lane, 1, { ttlMs: 30_000, waitMs: 10_000, signal });
        await wait(5);
        const sentAt = performance.now();
        void queue.enqueue([message()]);
        for (const { receipt } of await started) {
          found.push(performance.now() - sentAt);
          await queue.settle(receipt, { kind: 'ack' });
        }
      }
      return found;
    },
    close: async () => {
      await queue.stop(5000);
      await connection.stop();
    },
  };
}

async function bullmq(url: string): Promise<Side> {
  const { hostname: host, port } = new URL(url);
  const connection = { host, port: Number(port) };
  const name = createId(Date.now());
  const queue = new BullQueue(name, { connection });
  await queue.waitUntilReady();
  const payload = { body: body.toString() };
  const work = (count: number, began: () => void, concurrent: number): Promise<void> =>
    new Promise((resolve, reject) => {
      let done = 0;
      const worker = new Worker(name, async () => began(), { connection, concurrency: concurrent });
      worker.on('error', reject);
      worker.on('completed', () => {
        done++;
        if (done === count) void worker.close().then(resolve, reject);
      });
    });
  return {
    accept: (count) => parallel(count, () => queue.add('job', payload)),
    fill: async (count) => {
      for (let from = 0; from < count; from += 500) {
        const size = Math.min(500, count - from);
        await queue.addBulk(Array.from({ length: size }, () => ({ name: 'job', data: payload })));
      }
    },
    drain: (count) => work(count, () => {}, concurrency),
    latencies: async (count) => {
      const found: number[] = [];
      let sentAt = 0;
      const done = work(count, () => void found.push(performance.now() - sentAt), 1);
      for (let round = 0; round < count; round++) {
        while (found.length < round) await wait(1);
        await wait(5);
        sentAt = performance.now();
        await queue.add('job', payload);
      }
      await done;
      return found;
    },
    close: () => queue.close(),
  };
}

async function perSecond(count: number, work: (count: number) => Promise<void>): Promise<number> {
  const startedAt = performance.now();
  await work(count);
  return Math.round((count / (performance.now() - startedAt)) * 1000);
}

const makers = { millrace, bullmq } as const;
type Name = keyof typeof makers;

console.log(await floors());
for (const appendfsync of ['everysec', 'always']) {
  const server = await startBroker('redis', { parent: root, settings: [`appendfsync ${appendfsync}`] });
  const figures = { millrace: new Map<string, number[]>(), bullmq: new Map<string, number[]>() };
  const note = (side: Name, what: string, value: number): void => {
    figures[side].set(what, [...(figures[side].get(what) ?? []), value]);
  };
  for (let round = 0; round < rounds; round++) {
    // In turn, and the other one first the next time, so that what else the machine does meets both alike.
    for (const name of round % 2 === 0 ? (['millrace', 'bullmq'] as const) : (['bullmq', 'millrace'] as const)) {
      const side = await makers[name](server.url);
      await side.fill(1000);
      await side.drain(1000);
      note(name, 'accept', await perSecond(jobs, side.accept));
      note(name, 'drain of accepted', await perSecond(jobs, side.drain));
      const late = (await side.latencies(200)).toSorted((a, b) => a - b);
      note(name, 'latency p50 ms', quantile(late, 0.5));
      note(name, 'latency p99 ms', quantile(late, 0.99));
      await side.close();
    }
  }
  for (const [what, ours] of figures.millrace) {
    const theirs = figures.bullmq.get(what) ?? [];
    const show = (values: number[]): string => values.map((value) => Number(value.toFixed(2))).join(' ');
    const ratio = median(ours.map((value, round) => value / (theirs[round] ?? Number.NaN)));
    console.log(
      `${appendfsync.padEnd(9)} ${what.padEnd(18)} millrace ${median(ours).toFixed(2)} [${show(ours)}]  ` +
        `bullmq ${median(theirs).toFixed(2)} [${show(theirs)}]  ratio ${ratio.toFixed(2)}`,
    );
  }
  await server.dispose();
}
process.exit(0);
