import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Kafka, logLevel } from 'kafkajs';
import { connect } from 'nats';
import { Pool } from 'undici';
import { atRest } from '../test/chaos/ledgers.ts';
import { recipes, startBroker, startNatsCluster } from '../test/support/brokers.ts';
import { OwnBroker } from '../test/support/brokers/own-broker.ts';
import { echoModule, startGateway } from './gateway.ts';
import type { Subject } from './measure.ts';

/** Bytes of a body, and of its result: the function answers with what it was given. */
const body = Buffer.alloc(256, 'e');
const count = 20_000;
const streams = 'scale';

/** What a queue on a log of that broker is set up with, and what is in the log. */
interface Log {
  readonly name: string;
  readonly servers: readonly OwnBroker[];
  readonly connection: string;
  readonly queue: string;
  /** Since the log began. */
  readonly kept: () => Promise<Kept>;
}

interface Kept {
  readonly entries: number;
  readonly bytes: number;
}

export async function jetstream(home: string): Promise<void> {
  await using server = await startBroker('nats');
  await invocations(home, jetstreamOf('jetstream', [server], 1));
}

/** Three servers that each keep everything. */
export async function jetstreamThrice(home: string): Promise<void> {
  await using servers = new AsyncDisposableStack();
  const three = await startNatsCluster();
  for (const server of three) servers.use(server);
  await agreed(three);
  await invocations(home, jetstreamOf('jetstream, three replicas', three, 3));
}

export async function kafka(home: string): Promise<void> {
  // The tests' broker does not optimize what it runs for a minute only; one that is measured must.
  const plan: typeof recipes.kafka.plan = async (input) => {
    const planned = await recipes.kafka.plan(input);
    const args = planned.main.args.filter((arg) => !arg.startsWith('-XX:TieredStopAtLevel'));
    return { ...planned, main: { ...planned.main, args } };
  };
  await using server = await OwnBroker.start('kafka', { ...recipes.kafka, plan });
  const admin = new Kafka({ brokers: [server.url], logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  await invocations(home, {
    name: 'kafka',
    servers: [server],
    connection: `{ kind: kafka, brokers: "${server.url}" }`,
    queue: `{ kind: kafka, connection: broker, topics: ${streams} }`,
    kept: async () => {
      const topics = (await admin.listTopics()).filter((topic) => topic.startsWith(`${streams}.`));
      const offsets = (await Promise.all(topics.map((topic) => admin.fetchTopicOffsets(topic)))).flat();
      return {
        entries: offsets.reduce((sum, { high }) => sum + Number(high), 0),
        bytes: bytesOfLogs(join(server.folder, 'data')),
      };
    },
  });
  await admin.disconnect();
}

function jetstreamOf(name: string, servers: readonly OwnBroker[], replicas: number): Log {
  const urls = servers.map(({ url }) => url);
  return {
    name,
    servers,
    connection: `{ kind: nats, servers: ${JSON.stringify(urls)} }`,
    queue: `{ kind: jetstream, connection: broker, streams: ${streams}, replicas: ${replicas} }`,
    kept: async () => {
      const connection = await connect({ servers: urls });
      const manager = await connection.jetstreamManager();
      const states = (await manager.streams.list().next()).map(({ state }) => state);
      await connection.close();
      return {
        entries: states.reduce((sum, { last_seq: last }) => sum + last, 0),
        bytes: states.reduce((sum, { bytes }) => sum + bytes, 0),
      };
    },
  };
}

/** A cluster answers before it has agreed on who leads it. */
async function agreed(servers: readonly OwnBroker[]): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      const connection = await connect({ servers: servers.map(({ url }) => url) });
      const manager = await connection.jetstreamManager();
      await manager.streams.add({ name: 'agreed', subjects: ['agreed'], num_replicas: servers.length });
      await manager.streams.delete('agreed');
      return await connection.close();
    } catch (error) {
      if (tries === 100) throw error;
      await sleep(200);
    }
  }
}

/** What Kafka has appended of our topics; its indexes are made large before they are used. */
function bytesOfLogs(folder: string): number {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  return files
    .filter((file) => file.startsWith(`${streams}.`) && file.endsWith('.log'))
    .reduce((sum, file) => sum + statSync(join(folder, file)).size, 0);
}

/** What an invocation costs the gateway that takes and runs it, one that follows it, and the servers; and what is kept of it. */
async function invocations(home: string, { name, servers, connection, queue, kept }: Log): Promise<void> {
  const shared = { queue, more: `connections: { broker: ${connection} }\n` };
  // One after the other: the first one makes the streams.
  const functions = `  ok: { module: ${echoModule}, isolation: none }`;
  const first = await startGateway(home, 'first', { ...shared, functions });
  const second = await startGateway(home, 'follower', { ...shared, functions: '  {}' });
  const pids = [first.pid, second.pid, ...servers.map(({ pid }) => pid)];
  await send(first, count / 2);
  // What they do all the time is not the invocations' doing.
  const idle = await spentWhile(pids, () => sleep(5000));
  const before = await kept();
  const busy = await spentWhile(pids, () => send(first, count));
  const after = await kept();
  const [own = 0, follows = 0, ...broker] = busy.cpu.map(
    (ms, at) => ((ms - ((idle.cpu[at] ?? 0) * busy.ms) / idle.ms) * 1000) / count,
  );
  const all = broker.reduce((sum, us) => sum + us, 0);
  console.log(
    `${name}, 256 bytes, and kept as result: µs of CPU an invocation, accepted, run and settled: gateway ${own.toFixed(0)}, ` +
      `follower ${follows.toFixed(0)}, broker ${all.toFixed(0)}; ${((after.entries - before.entries) / count).toFixed(2)} entries ` +
      `appended, ${((after.bytes - before.bytes) / count).toFixed(0)} bytes kept`,
  );
  for (const subject of [first, second]) await subject.stop();
}

async function send(gateway: Subject, many: number): Promise<void> {
  const pool = new Pool(gateway.url, { connections: 64 });
  let left = many;
  const one = async (): Promise<void> => {
    while (left-- > 0) {
      const answer = await pool.request({ method: 'POST', path: '/async-function/ok', body });
      await answer.body.dump();
      if (answer.statusCode !== 202) throw new Error(`answered with ${answer.statusCode}`);
    }
  };
  await Promise.all(Array.from({ length: 64 }, one));
  await pool.close();
  await atRest(gateway.url);
}

async function spentWhile(
  pids: readonly number[],
  work: () => Promise<unknown>,
): Promise<{ readonly cpu: number[]; readonly ms: number }> {
  const cpu = pids.map(cpuOf);
  const from = performance.now();
  await work();
  return { cpu: pids.map((pid, at) => cpuOf(pid) - (cpu[at] ?? 0)), ms: performance.now() - from };
}

/** CPU of a process so far, ms; with threads that have ended, as those of the JVM's compiler do. */
function cpuOf(pid: number): number {
  const [, rest = ''] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ');
  const fields = rest.split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}
