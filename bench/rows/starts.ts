import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { request } from 'undici';
import { echoModule, startGateway } from '../gateway.ts';
import { cpuMs, median, medianInterval, rssMb } from '../measure.ts';
import type { Bench, Figure, Row } from './row.ts';

const threaded = (count: number): string =>
  Array.from({ length: count }, (_, index) => `  f${index}: { module: ${echoModule} }`).join('\n');

/**
 * The environment of `npm start`: the compile cache, else what strips the types is loaded too, which a package has no need of; and
 * what glibc's malloc keeps, as the image and the systemd unit have it, too.
 */
const usualEnvironment = (home: string): Readonly<Record<string, string>> => ({
  NODE_COMPILE_CACHE: join(home, 'compiled'),
  MALLOC_ARENA_MAX: '2',
  MALLOC_TRIM_THRESHOLD_: '131072',
});

/** Starts that many gateways one after another, the compile cache filled by the first; ms until each says it is ready. */
async function starts({ home }: Bench, count: number, functions: string): Promise<number[]> {
  const took: number[] = [];
  for (let round = -2; round < count; round++) {
    const startedAt = performance.now();
    const subject = await startGateway(home, 'start', {
      functions,
      store: '{ kind: sqlite, path: start-store.db }',
      env: usualEnvironment(home),
      // Nothing else runs meanwhile, and the threads of queue and store start beside the main one, as they do for users.
      cores: '0,1',
    });
    if (round >= 0) took.push(performance.now() - startedAt);
    await subject.stop();
  }
  return took;
}

function atMost(what: string, ms: readonly number[], most: number): Figure {
  const [least, high] = medianInterval(ms);
  const figure = `${median(ms).toFixed(0)} ms (${least.toFixed(0)}–${high.toFixed(0)}, of ${ms.length})`;
  return { what, figure, bar: `≤ ${most.toLocaleString('en')} ms`, met: high <= most };
}

export const start: Row = {
  name: 'start',
  measure: async (bench) => [
    atMost('process start to ready, 100 functions', await starts(bench, 15, threaded(100)), 400),
    atMost('process start to ready, 10,000 functions', await starts(bench, 5, threaded(10_000)), 2000),
  ],
};

export const cold: Row = {
  name: 'cold',
  measure: async ({ home }) => {
    const subject = await startGateway(home, 'cold', { functions: threaded(31), env: usualEnvironment(home) });
    const took: number[] = [];
    for (let index = 0; index < 31; index++) {
      const startedAt = performance.now();
      const { body, statusCode } = await request(`${subject.url}/function/f${index}`, { method: 'POST', body: 'x' });
      await body.dump();
      if (statusCode !== 200) throw new Error(`the first call answered ${statusCode}`);
      if (index > 0) took.push(performance.now() - startedAt); // The first one fills the compile cache.
      await wait(50);
    }
    await subject.stop();
    return [atMost('first call of a function, its thread not started', took, 80)];
  },
};

/** Schedules that never come: connectors that need no broker. */
const connectors = `connectors:
${[1, 2, 3, 4].map((day) => `  c${day}: { kind: cron, schedule: "0 0 ${day} 1 *", function: f${day} }`).join('\n')}
  http: { kind: http }
`;

/** Until V8 has cleared away what the start has left: it begins half a minute after that, and takes another half for it. */
const settleMs = 75_000;

export const idle: Row = {
  name: 'idle',
  measure: async ({ home }) => {
    const parts = { functions: threaded(1000), more: connectors, env: usualEnvironment(home) };
    await (await startGateway(home, 'idle', parts)).stop(); // Fills the cache.
    const subject = await startGateway(home, 'idle', parts);
    await wait(settleMs);
    const [cpuBefore, startedAt] = [cpuMs(subject.pid), performance.now()];
    await wait(30_000);
    const share = ((cpuMs(subject.pid) - cpuBefore) / (performance.now() - startedAt)) * 100;
    const rss = rssMb(subject.pid);
    await subject.stop();
    return [
      {
        what: 'idle for 30 s, from 75 s after the start, 1,000 functions, 5 connectors (http and four schedules)',
        figure: `${rss.toFixed(0)} MB of RSS, ${share.toFixed(2)} % of a core`,
        bar: '≤ 110 MB, ≤ 0.3 %',
        met: rss <= 110 && share <= 0.3,
      },
    ];
  },
};
