import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { Pool } from 'undici';
import { expect, it } from 'vitest';
import { loadConfig } from '../../core/config/load.ts';
import type { Config } from '../../core/config/schema.ts';
import { seeded } from '../chaos/random.ts';
import { nearly } from '../fuzz/inputs.ts';
import { builtIns, testDefaults, testGateway, type TestGateway } from '../support/gateway.ts';
import { saw, seed, times } from '../support/promise.ts';

const mutations = times(150, 2000);

/** What is called all the while, and what else there is: the second file is the one that changes. */
const main = `gateway: { listen: { port: 0 }, management: { port: 0 } }
include: [changing.yaml]
providers: { inline: { kind: inline-test } }
functions: { echo: { behaviour: echo, provider: inline } }
connectors: { http: { kind: http } }
`;
const mistakes = [
  (text: string) => text.replace('behaviour: echo', 'behaviour: ehco'),
  (text: string) => text.replace('timeout: ', 'timeot: '),
  (text: string) => text.replace('path: /r', 'path: r'),
  (text: string) => text.replace('schedule: "', 'schedule: "never '),
  (text: string) => text.replace(/function: f\d/, 'function: nobody'),
  (text: string) => `${text}  http: { kind: http }\n`,
  (text: string) => `${text}connectors: {}\n`,
  (text: string) => text.replace('{', ''),
  (text: string) => text.replace('{ path: /r', '{ path: /function/echo, function: f0 }, { path: /r'),
] as const;

/** A file that is right: some functions, routes to them, and a schedule. */
function rightText(random: () => number): string {
  const pick = <T>(...all: readonly T[]): T => all[Math.floor(random() * all.length)] as T;
  const count = 1 + Math.floor(random() * 4);
  const functions = Array.from(
    { length: count },
    (_, n) =>
      `  f${n}: { behaviour: echo, provider: inline, invoke: { timeout: ${pick('1s', '30s')}, concurrency: ${pick(1, 9)} } }`,
  );
  const routes = Array.from({ length: count }, (_, n) => `{ path: /r${pick(n, n + 4)}, function: f${n} }`);
  return `functions:
${functions.join('\n')}
connectors:
  web: { kind: http, functions: false, credit: ${pick(10, 20)}, routes: [${routes.join(', ')}] }
  nightly: { kind: cron, schedule: "${pick(1, 2)} 3 * * *", function: f0 }
`;
}

/** A right one, one with a mistake, or one with changes anywhere. */
function nextText(random: () => number): string {
  const text = rightText(random);
  const draw = random();
  if (draw < 0.3) return text;
  if (draw < 0.6) return mistakes[Math.floor(random() * mistakes.length)]?.(text) ?? text;
  const [changed = text] = fc.sample(nearly(text), { numRuns: 1, seed: Math.floor(random() * 2 ** 31) });
  return changed;
}

interface State {
  readonly functions: readonly string[];
  readonly connectors: readonly string[];
  /** Of the routes /r0 to /r7, those that are answered. */
  readonly routes: readonly string[];
}
const paths = Array.from({ length: 8 }, (_, n) => `/r${n}`);

function stateIn(config: Config): State {
  const enabled = [...config.connectors.values()];
  const routed = enabled.flatMap(({ config: own }) => (own as { routes?: { path: string }[] }).routes ?? []);
  return {
    functions: [...config.functions.keys()].toSorted(),
    connectors: enabled.map(({ name }) => name).toSorted(),
    routes: paths.filter((path) => routed.some((route) => route.path === path)),
  };
}

async function stateOf(pool: Pool): Promise<State> {
  const ask = async (path: string) =>
    (await (await pool.request({ method: 'GET', path })).body.json()) as { name: string; namespace?: string }[];
  const answers = await Promise.all(
    paths.map(async (path) => {
      const { statusCode, body } = await pool.request({ method: 'POST', path, body: 'x' });
      await body.dump();
      return statusCode === 404 ? [] : [path];
    }),
  );
  return {
    functions: (await ask('/system/functions')).map(({ name, namespace }) => `${name}.${namespace}`).toSorted(),
    connectors: (await ask('/system/connectors')).map(({ name }) => name).toSorted(),
    routes: answers.flat(),
  };
}

interface Tally {
  taken: number;
  refused: number;
  /** Neither the old configuration nor the new one. */
  torn: string[];
  calls: number;
  dropped: number;
}

/** A reload that is not what it should be: it takes what is right of a bad file, or it begins by ending everything. */
type Fault = 'half' | 'anew';

async function reloads(count: number, fault?: Fault): Promise<Tally> {
  const random = seeded(seed);
  await using gateway: TestGateway = await testGateway(main.replace(/include.*\n/, ''));
  const pool = new Pool(gateway.url, { connections: 24 });
  const changing = join(gateway.folder, 'changing.yaml');
  const tally: Tally = { taken: 0, refused: 0, torn: [], calls: 0, dropped: 0 };
  const reload = async (text: string) => {
    writeFileSync(changing, text);
    if (fault === 'anew') await gateway.reload(main.replace(/functions.*\n/, '').replace(/include.*\n/, ''));
    const { result } = await gateway.reload(main);
    const { config } = await loadConfig(join(gateway.folder, 'millrace.yaml'), builtIns(), testDefaults, {});
    if (result !== 'ok' && fault === 'half') {
      writeFileSync(changing, rightText(random));
      await gateway.reload(main);
    }
    return { isTaken: result === 'ok', config };
  };
  const done = new AbortController();
  const callers = Array.from({ length: 6 }, async () => {
    while (!done.signal.aborted) {
      tally.calls++;
      const body = `call ${tally.calls}`;
      const answer = await pool.request({ method: 'POST', path: '/function/echo', body }).catch(() => undefined);
      if (answer?.statusCode !== 200 || (await answer.body.text()) !== body) tally.dropped++;
    }
  });
  let before = await stateOf(pool);
  for (let number = 0; number < count; number++) {
    const text = nextText(random);
    const { isTaken, config } = await reload(text);
    tally[isTaken ? 'taken' : 'refused']++;
    const after = await stateOf(pool);
    const expected = isTaken && config ? stateIn(config) : before;
    if (JSON.stringify(after) !== JSON.stringify(expected)) tally.torn.push(text);
    before = after;
  }
  done.abort();
  await Promise.all(callers);
  await pool.close();
  return tally;
}

it(
  `${mutations} changes of a configuration are taken whole or not at all, and drop no call (P24)`,
  { timeout: 900_000 },
  async ({ task }) => {
    const { taken, refused, torn, calls, dropped } = await reloads(mutations);
    expect({ torn, dropped }, `MILLRACE_SEED=${seed}`).toEqual({ torn: [], dropped: 0 });
    expect(Math.min(taken, refused)).toBeGreaterThan(mutations / 10);
    const result = `${taken} changes taken, ${refused} refused, ${calls.toLocaleString('en')} calls meanwhile: 0 torn, 0 dropped`;
    saw(task, { seed, result });
  },
);

it('a reload that takes what is right of a bad file is found out', async () => {
  expect((await reloads(15, 'half')).torn.length).toBeGreaterThan(0);
}, 60_000);

it('a reload that begins by ending everything is found out', async () => {
  expect((await reloads(10, 'anew')).dropped).toBeGreaterThan(0);
}, 60_000);
