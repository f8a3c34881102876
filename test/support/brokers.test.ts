import amqp from 'amqplib';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect as dial } from 'node:net';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { Kafka, logLevel } from 'kafkajs';
import { connect } from 'nats';
import { describe, expect, it } from 'vitest';
import { type BrokerKind, brokerKinds, recipes, startBroker } from './brokers.ts';
import { freePorts } from './brokers/ports.ts';
import { BrokerMissing, programsOf } from './brokers/programs.ts';
import { eventually } from './gateway.ts';
import { describeWithBroker, describeWithOwnBroker } from './with-broker.ts';

const root = join(import.meta.dirname, '../..');
/** The first start may have to install the broker. */
const patient = 300_000;

/** Puts something that is to last into a broker, and looks for it. */
interface Probe {
  put(url: string): Promise<void>;
  isKept(url: string): Promise<boolean>;
}

const probes: Readonly<Record<BrokerKind, Probe>> = {
  redis: {
    put: (url) => withRedis(url, async (redis) => void (await redis.set('kept', 'yes'))),
    isKept: (url) => withRedis(url, async (redis) => (await redis.get('kept')) === 'yes'),
  },
  nats: {
    put: async (url) => {
      const connection = await connect({ servers: url });
      const manager = await connection.jetstreamManager();
      await manager.streams.add({ name: 'kept', subjects: ['kept'] });
      await connection.jetstream().publish('kept', 'yes');
      await connection.close();
    },
    isKept: async (url) => {
      const connection = await connect({ servers: url });
      const { state } = await (await connection.jetstreamManager()).streams.info('kept');
      await connection.close();
      return state.messages === 1;
    },
  },
  amqp: {
    put: async (url) => {
      const connection = await amqp.connect(url);
      const channel = await connection.createConfirmChannel();
      await channel.assertQueue('kept', { durable: true, arguments: { 'x-queue-type': 'quorum' } });
      channel.sendToQueue('kept', Buffer.from('yes'), { persistent: true });
      await channel.waitForConfirms();
      await connection.close();
    },
    isKept: async (url) => {
      const connection = await amqp.connect(url);
      const channel = await connection.createChannel();
      // A quorum queue says how much it holds only after it has elected its leader; a message is there, or comes.
      const message = await eventually(async () => (await channel.get('kept', { noAck: true })) || undefined);
      await connection.close();
      return message.content.toString() === 'yes';
    },
  },
  kafka: {
    put: async (url) => {
      const producer = kafkaAt(url).producer();
      await producer.connect();
      await producer.send({ topic: 'kept', acks: -1, messages: [{ value: 'yes' }] });
      await producer.disconnect();
    },
    isKept: async (url) => {
      const admin = kafkaAt(url).admin();
      await admin.connect();
      const [first] = await admin.fetchTopicOffsets('kept');
      await admin.disconnect();
      return first?.high === '1';
    },
  },
  mqtt: {
    // CONNECT and SUBSCRIBE by hand: a session that is to be kept, and whether it is there again.
    put: async (url) => {
      expect(await mqttSession(url)).toBe(false);
    },
    isKept: (url) => mqttSession(url),
  },
};

/**
 * Redis and Mosquitto write once a second. RabbitMQ forgets where a quorum queue is that was declared just before a kill
 * -9, and then never answers about it.
 */
const writesLate: ReadonlySet<BrokerKind> = new Set(['redis', 'mqtt', 'amqp']);

await describeWithBroker('redis', 'the redis that all test files share', (url) => {
  it('answers, keeps a journal and evicts nothing', async () => {
    await withRedis(url, async (redis) => {
      await redis.set('broker-harness', 'shared');
      expect(await redis.config('GET', 'appendonly')).toEqual(['appendonly', 'yes']);
      expect(await redis.config('GET', 'maxmemory-policy')).toEqual(['maxmemory-policy', 'noeviction']);
    });
  });
});
// Asked again, it is the same: nothing more was started.
await describeWithBroker('redis', 'the redis that another test file asks for', (url) => {
  it('has what the first one put there', async () => {
    await withRedis(url, async (redis) => expect(await redis.get('broker-harness')).toBe('shared'));
  });
});

for (const kind of brokerKinds) {
  await describeWithOwnBroker(kind, `a ${kind} broker of one's own`, () => {
    it(
      'keeps its address and what it was given over kill -9 and over a stop, and leaves nothing behind',
      async () => {
        const broker = await startBroker(kind);
        const { url, folder, pid } = broker;
        try {
          await probes[kind].put(url);
          await new Promise((resolve) => setTimeout(resolve, writesLate.has(kind) ? 2500 : 0));
          await broker.kill();
          expect(lives(pid)).toBe(false);
          await broker.restart();
          expect(broker.url).toBe(url);
          expect(broker.pid).not.toBe(pid);
          await broker.stop();
          await broker.restart();
          expect(await probes[kind].isKept(url)).toBe(true);
        } finally {
          await broker.dispose();
        }
        expect([lives(broker.pid), existsSync(folder)]).toEqual([false, false]);
      },
      patient,
    );
  });
}

await describeWithOwnBroker('redis', 'a broker', () => {
  it('answers nothing while it is paused, and goes on afterwards', async () => {
    await using broker = await startBroker('redis');
    await withRedis(broker.url, async (redis) => {
      await redis.ping();
      broker.pause();
      let isAnswered = false;
      const answer = redis.ping().then(() => (isAnswered = true));
      await new Promise((resolve) => setTimeout(resolve, 300));
      expect(isAnswered).toBe(false);
      broker.resume();
      await answer;
    });
  });

  it('obeys the settings of its test', async () => {
    await using broker = await startBroker('redis', { settings: ['appendonly no', 'requirepass hunter22'] });
    const redis = new Redis(broker.url, { password: 'hunter22', lazyConnect: true });
    await redis.connect();
    expect(await redis.config('GET', 'appendonly')).toEqual(['appendonly', 'no']);
    redis.disconnect();
  });

  it('that cannot start says why', async () => {
    await expect(startBroker('redis', { settings: ['no-such-setting yes'] })).rejects.toThrow(/no-such-setting/);
  });

  it('ends, and its folder goes, with the process that started it, kill -9 included', async () => {
    const { stdout } = await output(['test/support/broker-that-is-left.ts']);
    const { pid, folder } = JSON.parse(stdout) as { pid: number; folder: string };
    await eventually(() => (lives(pid) || existsSync(folder) ? undefined : true));
  });
});

describe('a broker that is not there', () => {
  it('is told with what it takes to have it', async () => {
    const recipe = { ...recipes.redis, programs: ['no-such-server'], packages: [] };
    const missing = programsOf(recipe);
    await expect(missing).rejects.toThrow(BrokerMissing);
    await expect(missing).rejects.toThrow(/no-such-server not found: .* or set MILLRACE_TEST_REDIS_URL/);
  });

  it.each([
    ['skips its tests with one line', [], 0],
    ['fails its tests under --require-brokers', ['--require-brokers'], 1],
  ])('%s', async (_name, options, expected) => {
    const args = ['test/run.ts', 'test/support/brokers.test.ts', '-t', 'that all test files share', ...options];
    const { code, stdout, stderr } = await output(args, { PATH: '/nonexistent', MILLRACE_TEST_INSTALL: '0' });
    const line = 'redis-server not found: apt-get install redis-server, or set MILLRACE_TEST_REDIS_URL';
    expect(`${stdout}${stderr}`).toContain(line);
    expect(code).toBe(expected);
  });
});

it('free ports are not those of outgoing connections', async () => {
  const ports = await freePorts(20);
  expect(new Set(ports).size).toBe(20);
  expect(Math.max(...ports)).toBeLessThan(32_768);
});

async function withRedis<T>(url: string, use: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(url, { lazyConnect: true });
  try {
    await redis.connect();
    return await use(redis);
  } finally {
    redis.disconnect();
  }
}

function kafkaAt(url: string): Kafka {
  return new Kafka({ brokers: [url], logLevel: logLevel.NOTHING, clientId: 'harness' });
}

/** Opens the session `harness` with one subscription; returns whether the broker still knew it. */
async function mqttSession(url: string): Promise<boolean> {
  const socket = dial(Number(new URL(url).port), '127.0.0.1');
  const name = Buffer.from('harness');
  const connectPacket = [0x10, 12 + name.length, 0, 4, ...Buffer.from('MQTT'), 4, 0, 0, 60, 0, name.length, ...name];
  socket.write(Buffer.from(connectPacket));
  const [acknowledged] = (await once(socket, 'data')) as [Buffer];
  socket.write(Buffer.from([0x82, 6, 0, 1, 0, 1, 0x61, 1]));
  await once(socket, 'data');
  socket.end();
  return acknowledged[0] === 0x20 && acknowledged[2] === 1;
}

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false; // ESRCH: it has gone.
  }
}

/** Runs Node in the repository to its end. */
async function output(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = execFile(process.execPath, [...args], {
    cwd: root,
    env: { ...process.env, MILLRACE_REQUIRE_BROKERS: '', ...env },
  });
  let stdout = '';
  let stderr = '';
  child.stdout?.on('data', (chunk: string) => (stdout += chunk));
  child.stderr?.on('data', (chunk: string) => (stderr += chunk));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
}
