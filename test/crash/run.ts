/**
 * One run of the crash kit, for as long as one likes and with every line that it says:
 * `npm run crash -- KIND [SEED] [GATEWAYS] [STRIKES, as gateway:10,broker:10] [PLANT]`.
 */
import { broken, check } from './checker.ts';
import { crashRun, summary } from './driver.ts';
import { crashQueues } from './queues.ts';
import type { Strike } from './strikes.ts';

const [, , kind = 'redis', seed = '1', gateways = '2', strikes = 'gateway:5,failpoint:5,broker:10,stall:1', plant] =
  process.argv;
const queue = crashQueues[kind];
if (!queue) throw new Error(`there is no queue ${kind}: expected one of ${Object.keys(crashQueues).join(', ')}`);

const all = strikes.split(',').flatMap((each) => {
  const [name = '', count = '1'] = each.split(':');
  return Array.from({ length: Number(count) }, () => name as Strike);
});
const startedAt = performance.now();
const run = await crashRun({
  seed: Number(seed),
  queue,
  gateways: Number(gateways),
  strikes: all,
  calls: 20 * all.length,
  paceMs: 200,
  ...(plant && { plant, failpoints: ['queue.before-commit'] }),
  log: (text) => say(`${((performance.now() - startedAt) / 1000).toFixed(1).padStart(6)} s  ${text}`),
});
say(`${kind}, seed ${seed}: ${summary(run)}`);
const wrong = broken(check(run.history));
for (const line of wrong) say(line);
process.exitCode = wrong.length === 0 ? 0 : 1;

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
