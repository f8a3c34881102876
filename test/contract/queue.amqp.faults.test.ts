import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { sleep } from '../../core/contracts/clock.ts';
import type { Lease, Queue } from '../../core/contracts/queue.ts';
import { createId } from '../../core/delivery/ids.ts';
import { unaborted } from '../../core/testing/queue-trial.ts';
import type { Amqp } from '../../plugins/connections/amqp/connection.ts';
import { BrokerMissing, recipes, startBroker } from '../support/brokers.ts';
import { OwnBroker } from '../support/brokers/own-broker.ts';
import type { Plan } from '../support/brokers/plan.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';
import { plainMessage } from '../support/plain-message.ts';
import { rabbitmqctl } from '../support/rabbitmqctl.ts';
import { dial, queueOn, startSettled } from './amqp-bench.ts';

let server: OwnBroker;
const cleanups: (() => Promise<unknown>)[] = [];
beforeAll(async () => {
  server = await startBroker('amqp').catch((error: unknown) => {
    // Then the suites below are skipped, and say why.
    if (error instanceof BrokerMissing) return undefined as never;
    throw error;
  });
}, 100_000);
afterAll(() => server?.dispose());
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

const message = (): ReturnType<typeof plainMessage> => plainMessage(createId(Date.now()));
let count = 0;
const newStreams = (): string => `faults-${++count}`;

async function gateway(streams: string, on = server): Promise<{ readonly queue: Queue; readonly amqp: Amqp }> {
  const amqp = await dial(on.url);
  cleanups.push(() => amqp.stop(1000));
  const queue = queueOn(amqp, streams);
  cleanups.push(() => queue.stop(1000));
  await queue.start();
  return { queue, amqp };
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

async function ownBroker(): Promise<OwnBroker> {
  const own = await startSettled();
  cleanups.push(() => own.dispose());
  return own;
}

async function until(holds: () => boolean | Promise<boolean>, ms = 20_000): Promise<void> {
  const deadline = performance.now() + ms;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`it did not come to be within ${ms} ms`);
    await sleep(20);
  }
}

/** A gateway in a process of its own. */
class Holder {
  readonly process: ChildProcess;
  readonly lines: string[] = [];

  constructor(streams: string) {
    const script = join(import.meta.dirname, '../support/amqp-queue-process.ts');
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

await describeWithOwnBroker('amqp', 'queue amqp, with several gateways', () => {
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

await describeWithOwnBroker('amqp', 'queue amqp, when its broker fails', () => {
  it('hands out work again within 10 s of its return', async () => {
    const own = await ownBroker();
    const { queue, amqp } = await gateway(newStreams(), own);
    await queue.enqueue([message(), message()]);
    const [held] = await lease(queue, 1, 0);
    await own.kill();
    await until(() => !amqp.connected);
    await expect(lease(queue, 1, 0)).rejects.toMatchObject({ code: 'queue.unavailable' });
    await own.restart();
    const since = performance.now();
    await until(async () => (await lease(queue, 1, 100).catch(() => [])).length === 1);
    expect(performance.now() - since).toBeLessThan(10_000);
    expect(await queue.settle(held?.receipt ?? { id: '', lane: '', epoch: 0 }, { kind: 'ack' })).toBe('settled');
  }, 120_000);

  it('refuses while the broker is short of memory, and loses nothing', async () => {
    const own = await startBroker('amqp');
    cleanups.push(() => own.dispose());
    const { queue, amqp } = await gateway(newStreams(), own);
    const accepted: string[] = [];
    const accept = async (): Promise<string> => {
      const sent = message();
      const begun = performance.now();
      try {
        await queue.enqueue([sent]);
        accepted.push(sent.id);
        return 'accepted';
      } catch (error) {
        expect(error).toMatchObject({ code: 'queue.unavailable' });
        expect(performance.now() - begun).toBeLessThan(16_000);
        return 'refused';
      }
    };
    expect(await accept()).toBe('accepted');
    await rabbitmqctl(own, 'set_vm_memory_high_watermark', '0.00001');
    await until(async () => (await accept()) === 'refused');
    expect(amqp.blocked).toBe(true);
    const begun = performance.now();
    for (let index = 0; index < 50; index++) expect(await accept()).toBe('refused');
    expect(performance.now() - begun).toBeLessThan(2000);
    await rabbitmqctl(own, 'set_vm_memory_high_watermark', '0.4');
    await until(async () => (await accept()) === 'accepted');
    const ids = await drain(queue);
    expect(new Set(ids).size).toBe(ids.length);
    expect(accepted.filter((id) => !ids.includes(id))).toEqual([]);
  }, 120_000);

  it('keeps everything over a policy that limits streams, and refuses what one has taken from it', async () => {
    const own = await startBroker('amqp');
    cleanups.push(() => own.dispose());
    const limits = '"max-age":"1s","max-length-bytes":1000';
    const keepsAll = async (): Promise<void> => {
      const streams = newStreams();
      const { queue } = await gateway(streams, own);
      const body = Buffer.alloc(20_000, 'b');
      const sent = Array.from({ length: 400 }, () => ({ ...message(), body }));
      for (let at = 0; at < sent.length; at += 20) await queue.enqueue(sent.slice(at, at + 20));
      await sleep(1500);
      await queue.enqueue([message()]);
      await sleep(1500);
      // The other one has nothing of it in memory.
      const { queue: other } = await gateway(streams, own);
      expect(await drain(other)).toHaveLength(sent.length + 1);
    };
    await rabbitmqctl(own, 'set_policy', 'short', '.*', `{${limits}}`);
    await keepsAll();
    await rabbitmqctl(own, 'set_policy', 'short', '.*', `{${limits},"stream-max-segment-size-bytes":1000000}`);
    await expect(keepsAll()).rejects.toMatchObject({
      code: expect.stringMatching(/config\.invalid|queue\.unavailable/),
    });
  }, 120_000);

  it('fails, and says so, when its stream is removed', async () => {
    const streams = newStreams();
    const { queue, amqp } = await gateway(streams);
    await queue.enqueue([message()]);
    const channel = await amqp.channel();
    await channel.deleteQueue(`${streams}-commands.0`);
    await until(async () => {
      const refusal: unknown = await queue.lanes().catch((error: unknown) => error);
      return refusal instanceof Error && refusal.message.includes(`${streams}-commands.0 is gone`);
    });
    await expect(gateway(streams)).rejects.toMatchObject({ code: 'config.invalid' });
  });
});

await describeWithOwnBroker('amqp', 'queue amqp, when it starts', () => {
  it('says how durable it is', async () => {
    expect((await gateway(newStreams())).queue.durability).toBe('page-cache');
  });

  it('names what is different about a queue that is there', async () => {
    const streams = newStreams();
    const amqp = await dial(server.url);
    cleanups.push(() => amqp.stop(1000));
    const channel = await amqp.channel();
    await channel.assertQueue(`${streams}-bodies.0`, { durable: true });
    await expect(queueOn(amqp, streams).start()).rejects.toMatchObject({
      code: 'config.invalid',
      message: expect.stringMatching(/the queue \S+-bodies\.0 is there, but .*'x-queue-type'.*'stream'.*is none/),
    });
  });

  it('says what is missing on a broker without streams', async () => {
    const recipe = {
      ...recipes.amqp,
      plan: async (given: Parameters<typeof recipes.amqp.plan>[0]): Promise<Plan> => {
        const plan = await recipes.amqp.plan(given);
        return { ...plan, main: { ...plan.main, env: { ...plan.main.env, RABBITMQ_FEATURE_FLAGS: '' } } };
      },
    };
    await using own = await OwnBroker.start('amqp', recipe);
    await expect(gateway(newStreams(), own)).rejects.toMatchObject({
      code: 'config.invalid',
      message: expect.stringContaining('enable_feature_flag stream_queue'),
    });
  }, 60_000);

  it('names the permission that the user lacks', async () => {
    const own = await startBroker('amqp');
    cleanups.push(() => own.dispose());
    await rabbitmqctl(own, 'add_user', 'reader', 'pa55');
    await rabbitmqctl(own, 'set_permissions', 'reader', '^$', '.*', '.*');
    const amqp = await dial(own.url, { user: 'reader', password: 'pa55' });
    cleanups.push(() => amqp.stop(1000));
    await expect(queueOn(amqp, newStreams()).start()).rejects.toMatchObject({
      code: 'config.invalid',
      message: expect.stringContaining('may not declare the stream'),
    });
  }, 60_000);
});
