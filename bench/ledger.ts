/**
 * What a queue on JetStream, RabbitMQ or Kafka does in a second: `node bench/ledger.ts
 * nats://HOST:PORT|amqp://HOST:PORT|HOST:PORT [messages] [bytes] [sync]`. Prints one line a figure. Streams or topics of
 * its own are made and removed; with `sync` the broker (Kafka) syncs each entry.
 */
import { pino } from 'pino';
import { systemClock } from '../core/contracts/clock.ts';
import type { Connection } from '../core/contracts/connection.ts';
import type { PluginHost } from '../core/contracts/definition.ts';
import type { NewMessage, Queue } from '../core/contracts/queue.ts';
import { createId } from '../core/delivery/ids.ts';
import { Amqp } from '../plugins/connections/amqp/connection.ts';
import { amqpConnectionConfig } from '../plugins/connections/amqp/index.ts';
import { Kafka } from '../plugins/connections/kafka/connection.ts';
import { kafkaConfig } from '../plugins/connections/kafka/index.ts';
import { Nats } from '../plugins/connections/nats/connection.ts';
import { natsConfig } from '../plugins/connections/nats/index.ts';
import amqpQueue, { amqpConfig } from '../plugins/queues/amqp/index.ts';
import kafkaQueue, { kafkaQueueConfig } from '../plugins/queues/kafka/index.ts';
import jetstream, { jetstreamConfig } from '../plugins/queues/jetstream/index.ts';
import { removeStreams } from '../test/contract/amqp-bench.ts';

const [, , url = 'nats://127.0.0.1:4222', countText = '50000', bytesText = '256', sync] = process.argv;
const count = Number(countText);
const body = Buffer.alloc(Number(bytesText), 'b');
const prefix = `bench-${process.pid}`;
const signal = new AbortController().signal;

function hostOf(connection?: Connection): PluginHost {
  return {
    name: 'bench',
    logger: pino({ level: 'warn' }),
    clock: systemClock,
    metrics: { counter: () => ({ inc: () => {} }), gauge: () => ({ set: () => {} }) },
    signal,
    baseFolder: '/',
    fail: (error) => {
      throw error;
    },
    connection: () => connection as never,
  };
}

function message(): NewMessage {
  const id = createId(Date.now());
  return {
    id,
    lane: 'bench.default',
    envelope: {
      callId: id,
      method: 'POST',
      path: '/',
      query: '',
      headers: { 'content-type': 'application/json', 'user-agent': 'bench/1', 'x-request-id': id },
      source: 'http',
      depth: 0,
      acceptedAt: Date.now(),
    },
    body,
    priority: 5,
    maxAttempts: 3,
    resultTtlMs: 3_600_000,
  };
}

async function parallel(width: number, work: () => Promise<void>): Promise<void> {
  await Promise.all(Array.from({ length: width }, work));
}

/** `width` senders, each of which awaits its answer before it sends again. */
async function accept(queue: Queue, width: number): Promise<void> {
  const latencies: number[] = [];
  let left = count;
  const begun = performance.now();
  await parallel(width, async () => {
    while (left-- > 0) {
      const start = performance.now();
      await queue.enqueue([message()]);
      latencies.push(performance.now() - start);
    }
  });
  report(`accept, ${width} in flight`, performance.now() - begun, latencies);
}

/** As the lanes do it: what runs is at most `width`, each is settled with a result on its own. */
async function drain(queue: Queue, width: number): Promise<void> {
  const latencies: number[] = [];
  const state = { left: count, running: 0 };
  const begun = performance.now();
  const idle = { wake: (): void => {} };
  const settle = async (lease: Awaited<ReturnType<Queue['lease']>>[number]): Promise<void> => {
    const start = performance.now();
    await queue.settle(lease.receipt, { kind: 'ack', result: { status: 200, headers: {}, body: Buffer.from('ok') } });
    latencies.push(performance.now() - start);
    state.running--;
    state.left--;
    idle.wake();
  };
  while (state.left > 0) {
    if (state.running >= width || (state.running > 0 && state.running >= state.left)) {
      await new Promise<void>((resolve) => (idle.wake = resolve));
      continue;
    }
    const leases = await queue.lease('bench.default', width - state.running, { ttlMs: 30_000, waitMs: 1000, signal });
    state.running += leases.length;
    for (const lease of leases) void settle(lease);
  }
  report(`lease and ack with a result, ${width} at once`, performance.now() - begun, latencies);
}

function report(name: string, ms: number, latencies: readonly number[]): void {
  const sorted = latencies.toSorted((a, b) => a - b);
  const quantile = (q: number): string => (sorted[Math.floor(sorted.length * q)] ?? 0).toFixed(1);
  const perSecond = String(Math.round((count / ms) * 1000)).padStart(8);
  console.log(`${name.padEnd(48)} ${perSecond}/s  p50 ${quantile(0.5)} ms, p99 ${quantile(0.99)} ms`);
}

interface Bench {
  readonly queue: Queue;
  /** Removes what it made, and leaves the broker. */
  readonly end: () => Promise<void>;
}

const journals = ['commands', 'bodies', 'snapshots'];

async function onJetstream(): Promise<Bench> {
  const nats = new Nats(natsConfig.parse({ servers: url }), hostOf());
  await nats.start();
  return {
    queue: jetstream.create(jetstreamConfig.parse({ streams: prefix }), hostOf(nats)),
    end: async () => {
      const manager = await nats.client.jetstreamManager();
      for (const name of journals) await manager.streams.delete(`${prefix}-${name}`);
      await nats.stop(1000);
    },
  };
}

async function onAmqp(): Promise<Bench> {
  const amqp = new Amqp(amqpConnectionConfig.parse({ url }), hostOf());
  await amqp.start();
  return {
    queue: amqpQueue.create(amqpConfig.parse({ streams: prefix }), hostOf(amqp)),
    end: async () => {
      await removeStreams(amqp, prefix, 64);
      await amqp.stop(1000);
    },
  };
}

async function onKafka(): Promise<Bench> {
  const kafka = new Kafka(kafkaConfig.parse({ brokers: url }), hostOf());
  await kafka.start();
  return {
    queue: kafkaQueue.create(kafkaQueueConfig.parse({ topics: prefix, sync: sync !== undefined }), hostOf(kafka)),
    end: async () => {
      for (const name of journals) await kafka.driver.deleteTopic(`${prefix}.${name}`);
      await kafka.stop();
    },
  };
}

function open(): Promise<Bench> {
  if (url.startsWith('nats:')) return onJetstream();
  return url.startsWith('amqp:') ? onAmqp() : onKafka();
}

const { queue, end } = await open();
await queue.start();
for (const width of [32, 256]) {
  for (let round = 0; round < 2; round++) {
    await accept(queue, width);
    await drain(queue, width);
  }
}
console.log(`memory ${Math.round(process.memoryUsage().rss / 2 ** 20)} MiB`);
await queue.stop(10_000);
await end();
