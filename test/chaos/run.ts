/**
 * One run of the chaos kit, for as long as one likes and with every line that it says:
 * `npm run chaos -- KIND [SEED] [GATEWAYS] [STRIKES, as gateway:10,broker:10] [PLANT]`, of a queue, or of a connector as
 * `connector:KIND`. `npm run chaos -- --long [FILTER]` runs the whole kit, or a part of it, with the large counts.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { broken, check } from './checker.ts';
import { brokenMessages } from './connector-checker.ts';
import { messageRun, messageSummary, type MessageStrike } from './connector-driver.ts';
import { crashConnectors, type CrashConnector } from './connectors.ts';
import { crashRun, summary } from './driver.ts';
import { crashQueues } from './queues.ts';
import type { Strike } from './strikes.ts';

const [, , kind = 'redis', seed = '1', gateways = '2', strikes = 'gateway:5,failpoint:5,broker:10,stall:1', plant] =
  process.argv;
const all = strikes.split(',').flatMap((each) => {
  const [name = '', count = '1'] = each.split(':');
  return Array.from({ length: Number(count) }, () => name);
});
const startedAt = performance.now();
const log = (text: string): void =>
  say(`${((performance.now() - startedAt) / 1000).toFixed(1).padStart(6)} s  ${text}`);
process.exitCode = process.argv.includes('--long') ? whole() : await one();

function whole(): number {
  const filters = process.argv.slice(2).filter((argument) => argument !== '--long');
  const given = [join(import.meta.dirname, '../run.ts'), ...(filters.length === 0 ? ['test/chaos/'] : filters)];
  const env = { ...process.env, MILLRACE_CHAOS_LONG: '1' };
  return spawnSync(process.execPath, given, { stdio: 'inherit', env }).status ?? 1;
}

async function one(): Promise<number> {
  const wrong = kind.startsWith('connector:') ? await ofConnector(kind.slice('connector:'.length)) : await ofQueue();
  for (const line of wrong) say(line);
  return wrong.length === 0 ? 0 : 1;
}

async function ofQueue(): Promise<string[]> {
  const queue = crashQueues[kind];
  if (!queue) throw new Error(`there is no queue ${kind}: expected one of ${Object.keys(crashQueues).join(', ')}`);
  const run = await crashRun({
    seed: Number(seed),
    queue,
    gateways: Number(gateways),
    strikes: all as Strike[],
    calls: 20 * all.length,
    paceMs: 200,
    ...(plant && { plant, failpoints: ['queue.before-commit'] }),
    log,
  });
  say(`${kind}, seed ${seed}: ${summary(run)}`);
  return broken(check(run.history));
}

async function ofConnector(name: string): Promise<string[]> {
  const connector = (crashConnectors as Readonly<Record<string, CrashConnector>>)[name];
  if (!connector) {
    throw new Error(`there is no connector ${name}: expected one of ${Object.keys(crashConnectors).join(', ')}`);
  }
  const history = await messageRun({
    seed: Number(seed),
    connector,
    gateways: Number(gateways),
    strikes: all as MessageStrike[],
    paceMs: 80,
    early: plant === 'early',
    log,
  });
  say(`${kind}, seed ${seed}: ${messageSummary(history)}`);
  return brokenMessages(history);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
