import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
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
