import { execFile } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { sleep } from '../../core/contracts/clock.ts';
import type { OwnBroker } from './brokers.ts';
import { programsOf } from './brokers/programs.ts';

/** What `rabbitmqctl` says of a broker of a test's own. */
export async function rabbitmqctl(broker: OwnBroker, ...args: readonly string[]): Promise<string> {
  const recipe = { variable: '', programs: ['rabbitmqctl'], packages: [], ports: 0, plan: () => Promise.reject() };
  const { rabbitmqctl: program = '' } = await programsOf(recipe);
  // It must know the node's name, cookie and name service, which the node was started with.
  const lines = readFileSync(`/proc/${broker.pid}/environ`, 'utf8').split('\0');
  const env = Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
  const { PATH, HOME, ERL_EPMD_PORT, ERL_EPMD_ADDRESS, RABBITMQ_NODENAME, RABBITMQ_CONF_ENV_FILE } = env;
  return new Promise((resolve, reject) => {
    execFile(
      program,
      [...args],
      { env: { PATH, HOME, ERL_EPMD_PORT, ERL_EPMD_ADDRESS, RABBITMQ_NODENAME, RABBITMQ_CONF_ENV_FILE } },
      (error, output, faults) => (error ? reject(new Error(`${error.message}\n${faults}`)) : resolve(output)),
    );
  });
}

export interface QueueState {
  readonly name: string;
  readonly type: string;
  readonly messages_ready: number;
  /** Lent to consumers. */
  readonly messages_unacknowledged: number;
  readonly consumers: number;
}

/** What the broker itself says of its queues; it takes half a second. */
export async function queuesOf(broker: OwnBroker): Promise<readonly QueueState[]> {
  const columns = ['name', 'type', 'messages_ready', 'messages_unacknowledged', 'consumers'];
  return JSON.parse(
    await rabbitmqctl(broker, 'list_queues', '--quiet', '--formatter', 'json', ...columns),
  ) as QueueState[];
}

/**
 * RabbitMQ 3.10 does not know a queue any more that it was told of moments before it was killed: resolves once this is
 * written.
 */
export async function isWritten(
  broker: OwnBroker,
  queue: string,
  type: 'quorum' | 'classic' | 'stream' = 'quorum',
): Promise<void> {
  await isIn(broker, '{LATEST.LOG,rabbit_durable_queue.*}', queue);
  if (type === 'quorum') await isIn(broker, 'quorum/*/names.dets', queue);
  if (type === 'stream') await isIn(broker, 'coordination/*/names.dets', 'rabbit_stream_coordinator');
}

async function isIn({ folder }: OwnBroker, files: string, name: string): Promise<void> {
  const written = (): boolean =>
    globSync(`mnesia/*/${files}`, { cwd: folder }).some((file) => readFileSync(join(folder, file)).includes(name));
  for (const giveUpAt = performance.now() + 20_000; !written(); await sleep(50)) {
    if (performance.now() > giveUpAt) throw new Error(`RabbitMQ has not written ${name} into ${files} within 20 s`);
  }
}
