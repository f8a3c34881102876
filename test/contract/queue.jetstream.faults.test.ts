import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { sleep } from '../../core/contracts/clock.ts';
import type { Lease, Queue } from '../../core/contracts/queue.ts';
import { createId } from '../../core/delivery/ids.ts';
import { unaborted } from '../../core/testing/queue-trial.ts';
import type { Nats } from '../../plugins/connections/nats/connection.ts';
import { BrokerMissing, type OwnBroker, startBroker, startNatsCluster } from '../support/brokers.ts';
import { freePorts } from '../support/brokers/ports.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';
import { plainMessage } from '../support/plain-message.ts';
import { dial, jetstreamQueue } from './jetstream-bench.ts';

let server: OwnBroker;
const cleanups: (() => Promise<unknown>)[] = [];
beforeAll(async () => {
  server = await startBroker('nats').catch((error: unknown) => {
    // Then the suites below are skipped, and say why.
    if (error instanceof BrokerMissing) return undefined as never;
    throw error;
  });
});
afterAll(() => server?.dispose());
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

const message = (): ReturnType<typeof plainMessage> => plainMessage(createId(Date.now()));
let count = 0;
const newStreams = (): string => `faults-${++count}`;

async function gateway(streams: string, on = server): Promise<{ readonly queue: Queue; readonly nats: Nats }> {
  const nats = await dial(on.url);
  cleanups.push(() => nats.stop(1000));
  const queue = jetstreamQueue(nats, streams);
  cleanups.push(() => queue.stop(1000));
  await queue.start();
  return { queue, nats };
}

function lease(queue: Queue, max: number, waitMs: number): Promise<Lease[]> {
  return queue.lease('work.default', max, { ttlMs: 30_000, waitMs, signal: unaborted });
}

/** Leases and acknowledges until there is no more; each id as often as it came. */
async function drain(queue: Queue): Promise<string[]> {
  const ids: string[] = [];
  for (let leases = await lease(queue, 200, 0); leases.length > 0; leases = await lease(queue, 200, 0)) {
    ids.push(...leases.map(({ message }) => message.id));
    await Promise.all(leases.map(({ receipt }) => queue.settle(receipt, { kind: 'ack' })));
  }
  return ids;
}

async function until(holds: () => boolean | Promise<boolean>, ms = 20_000): Promise<void> {
  const deadline = performance.now() + ms;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`it did not come to be within ${ms} ms`);
    await sleep(20);
  }
}

/** Whether every replica of the queue's streams has all that the others have. */
async function haveCaughtUp(nats: Nats): Promise<boolean> {
  const manager = await nats.manager();
  const streams = await manager.streams.list().next();
  const infos = await Promise.all(streams.map(({ config }) => manager.streams.info(config.name)));
  return infos.length === 3 && infos.every(({ cluster }) => cluster?.replicas?.every(({ current }) => current));
}

/** A gateway in a process of its own. */
class Holder {
  readonly process: ChildProcess;
  readonly lines: string[] = [];

  constructor(streams: string) {
    const script = join(import.meta.dirname, '../support/jetstream-queue-process.ts');
    this.process = spawn(process.execPath, [script, server.url, streams], { stdio: ['pipe', 'pipe', 'inherit'] });
    createInterface({ input: this.process.stdout ?? process.stdin }).on('line', (line) => this.lines.push(line));
    cleanups.push(async () => {
      if (this.process.exitCode !== null || this.process.signalCode !== null) return;
      const gone = once(this.process, 'exit');
      this.process.kill('SIGCONT');
      this.process.kill('SIGKILL');
      await gone;
    });
  }

  async line(number: number): Promise<string> {
    await until(() => this.lines.length > number);
    return this.lines[number] ?? '';
  }
}

await describeWithOwnBroker('nats', 'queue jetstream, with several gateways', () => {
  it('hands over within 20 s what a killed or a stalled one had, and the stalled one is stale', async () => {
    const streams = newStreams();
    const { queue } = await gateway(streams);
    const killed = new Holder(streams);
    expect(await killed.line(0)).toBe('open');
    const first = message();
    await queue.enqueue([first]);
    expect(await killed.line(1)).toBe(`${first.id} 1`);
    const stalled = new Holder(streams);
    expect(await stalled.line(0)).toBe('open');
    const second = message();
    await queue.enqueue([second]);
    expect(await stalled.line(1)).toBe(`${second.id} 1`);
    // They live: nothing of theirs is handed out, though it may take longer than a silence.
    expect(await lease(queue, 9, 14_000)).toEqual([]);

    killed.process.kill('SIGKILL');
    stalled.process.kill('SIGSTOP');
    const since = performance.now();
    const leases: Lease[] = [];
    while (leases.length < 2) leases.push(...(await lease(queue, 2 - leases.length, 20_000)));
    expect(performance.now() - since).toBeLessThan(20_000);
    expect(leases.map(({ message, attempt }) => `${message.id} ${attempt}`).toSorted()).toEqual(
      [`${first.id} 2`, `${second.id} 2`].toSorted(),
    );
    const before = await queue.find(second.id);
    stalled.process.kill('SIGCONT');
    stalled.process.stdin?.write('settle\n');
    expect(await stalled.line(2)).toBe('stale');
    expect(await queue.find(second.id)).toEqual(before);
    for (const { receipt } of leases) {
      expect(await queue.settle(receipt, { kind: 'ack' })).toBe('settled');
    }
    expect(await queue.find(second.id)).toMatchObject({ state: 'succeeded', attempt: 2, result: undefined });
    const [stats] = await queue.lanes();
    expect(stats).toMatchObject({ leased: 0, totals: { accepted: 2, succeeded: 2, stale: 1 } });
  }, 90_000);

  it('shares the work of one lane', async () => {
    const streams = newStreams();
    const [one, two] = await Promise.all([gateway(streams), gateway(streams)]);
    const messages = Array.from({ length: 400 }, message);
    await Promise.all([one.queue.enqueue(messages.slice(0, 200)), two.queue.enqueue(messages.slice(200))]);
    const taken = await Promise.all(
      [one.queue, two.queue].map(async (queue) => {
        const ids: string[] = [];
        for (let leases = await lease(queue, 10, 500); leases.length > 0; leases = await lease(queue, 10, 500)) {
          ids.push(...leases.map(({ message }) => message.id));
          await Promise.all(leases.map(({ receipt }) => queue.settle(receipt, { kind: 'ack' })));
        }
        return ids;
      }),
    );
    expect(taken.flat().toSorted()).toEqual(messages.map(({ id }) => id).toSorted());
    for (const ids of taken) expect(ids.length).toBeGreaterThan(20);
  });

  it('tells each of them what another one did a moment ago', async () => {
    const streams = newStreams();
    const [one, two] = await Promise.all([gateway(streams), gateway(streams)]);
    for (let round = 0; round < 20; round++) {
      const sent = message();
      await one.queue.enqueue([sent]);
      expect(await two.queue.find(sent.id)).toMatchObject({ state: 'queued' });
    }
  });
});

await describeWithOwnBroker('nats', 'queue jetstream, when its broker fails', () => {
  it('hands out work again within 10 s of its return', async () => {
    const own = await startBroker('nats');
    cleanups.push(() => own.dispose());
    const { queue, nats } = await gateway(newStreams(), own);
    await queue.enqueue([message(), message()]);
    const [held] = await lease(queue, 1, 0);
    await own.kill();
    await until(() => !nats.connected);
    await expect(lease(queue, 1, 0)).rejects.toMatchObject({ code: 'queue.unavailable' });
    await own.restart();
    const since = performance.now();
    await until(async () => (await lease(queue, 1, 100).catch(() => [])).length === 1);
    expect(performance.now() - since).toBeLessThan(10_000);
    expect(await queue.settle(held?.receipt ?? { id: '', lane: '', epoch: 0 }, { kind: 'ack' })).toBe('settled');
  });

  it('reads on when its consumer is deleted', async () => {
    const streams = newStreams();
    const { queue, nats } = await gateway(streams);
    const manager = await nats.client.jetstreamManager();
    const consumers = await manager.consumers.list(`${streams}-commands`).next();
    expect(consumers).toHaveLength(1);
    for (const { name } of consumers) await manager.consumers.delete(`${streams}-commands`, name);
    const since = performance.now();
    const sent = message();
    expect(await queue.enqueue([sent])).toEqual([{ status: 'accepted', id: sent.id }]);
    expect(performance.now() - since).toBeLessThan(10_000);
  });

  it('fails, and says so, when its stream is removed', async () => {
    const streams = newStreams();
    const { queue, nats } = await gateway(streams);
    const manager = await nats.client.jetstreamManager();
    await queue.enqueue([message()]);
    await manager.streams.delete(`${streams}-commands`);
    await until(async () => {
      const refusal: unknown = await queue.lanes().catch((error: unknown) => error);
      return refusal instanceof Error && refusal.message.includes(`${streams}-commands was removed`);
    });
  });
});

await describeWithOwnBroker('nats', 'queue jetstream, on a cluster of three', () => {
  it('is replicated, and goes on when any one of the servers dies', async () => {
    const servers = await startNatsCluster();
    for (const each of servers) cleanups.push(() => each.dispose());
    const nats = await dial(servers[0]?.url ?? '', { servers: servers.map(({ url }) => url), connectTimeout: '30s' });
    cleanups.push(() => nats.stop(1000));
    // A cluster answers before it has agreed on who leads it.
    await until(async () => (await nats.client.jetstreamManager().catch(() => undefined)) !== undefined, 60_000);
    const streams = newStreams();
    const starting = async (): Promise<Queue | undefined> => {
      const made = jetstreamQueue(nats, streams, { replicas: 3 });
      return made.start().then(
        () => made,
        () => undefined,
      );
    };
    let started: Queue | undefined;
    await until(async () => (started = await starting()) !== undefined, 60_000);
    const queue = started ?? jetstreamQueue(nats, streams);
    cleanups.push(() => queue.stop(1000));
    expect(queue.durability).toBe('replicated');
    const accepted: string[] = [];
    const accept = async (): Promise<boolean> => {
      const sent = message();
      const [answer] = await queue.enqueue([sent]).catch(() => []);
      if (answer) accepted.push(answer.id);
      return answer !== undefined;
    };
    for (const each of servers) {
      await until(accept);
      await each.kill();
      // The servers themselves take some 10 s to agree on new leaders, and as long again each time that they fail: half a
      // minute was seen on a machine that was busy with other things.
      await until(accept, 150_000);
      for (let index = 0; index < 20; index++) await accept();
      await each.restart();
      // It has to catch up before another one may go.
      await until(() => haveCaughtUp(nats).catch(() => false), 60_000);
    }
    const drained = new Set(await drain(queue));
    expect(accepted.filter((id) => !drained.has(id))).toEqual([]);
  }, 600_000);
});

await describeWithOwnBroker('nats', 'queue jetstream, when it starts', () => {
  const start = async (settings: Record<string, unknown>, on = server): Promise<Queue> => {
    const nats = await dial(on.url);
    cleanups.push(() => nats.stop(1000));
    const queue = jetstreamQueue(nats, newStreams(), settings);
    cleanups.push(() => queue.stop(1000));
    await queue.start();
    return queue;
  };

  it('says how durable it is, and refuses memory unless it is told that everything may be lost', async () => {
    expect((await start({})).durability).toBe('page-cache');
    await expect(start({ storage: 'memory' })).rejects.toMatchObject({
      code: 'config.invalid',
      message: expect.stringContaining('allowVolatile: true'),
    });
    expect((await start({ storage: 'memory', allowVolatile: true })).durability).toBe('memory');
  });

  it('asks the servers whether they sync each write', async ({ skip }) => {
    const [port] = await freePorts(1);
    const monitor = [`http://127.0.0.1:${port}`];
    const http = `http: "127.0.0.1:${port}"`;
    const own = await startBroker('nats', { settings: [http] });
    cleanups.push(() => own.dispose());
    expect((await start({ monitor }, own)).durability).toBe('page-cache');
    const nats = await dial(own.url);
    cleanups.push(() => nats.stop(1000));
    if (!nats.isAtLeast(2, 10)) return skip('nats-server 2.10 or later is needed for sync_interval: always');
    await own.dispose();
    const jetstream = `jetstream { store_dir: "${server.folder}/synced", sync_interval: always }`;
    const synced = await startBroker('nats', { settings: [http, jetstream] });
    cleanups.push(() => synced.dispose());
    expect((await start({ monitor }, synced)).durability).toBe('disk');
  });

  it('names what is different about a stream that is there', async () => {
    const streams = newStreams();
    const nats = await dial(server.url);
    cleanups.push(() => nats.stop(1000));
    const manager = await nats.client.jetstreamManager();
    await manager.streams.add({ name: `${streams}-bodies`, subjects: ['other.things'], max_age: 1_000_000_000 });
    await expect(jetstreamQueue(nats, streams).start()).rejects.toMatchObject({
      code: 'config.invalid',
      message: expect.stringMatching(
        /the stream \S+-bodies is there, .*subjects is \["other.things"\], expected \["\S+\.bodies"\].*max_age is 1000000000, expected 0/,
      ),
    });
    await manager.streams.add({ name: 'taken', subjects: ['clash.commands'] });
    await expect(jetstreamQueue(nats, 'clash').start()).rejects.toMatchObject({
      code: 'config.invalid',
      message: expect.stringContaining('clash.commands belongs to another stream'),
    });
  });

  it('says what is missing on a server without JetStream, and on one that cannot replicate', async () => {
    const plain = await startBroker('nats', { settings: ['jetstream: false'] });
    cleanups.push(() => plain.dispose());
    await expect(start({}, plain)).rejects.toMatchObject({
      code: 'config.invalid',
      message: expect.stringContaining('-js'),
    });
    await expect(start({ replicas: 3 })).rejects.toMatchObject({
      code: 'config.invalid',
      message: expect.stringContaining('3 replicas'),
    });
  });
});
