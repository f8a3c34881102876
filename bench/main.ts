/**
 * `npm run bench -- [--only ROW,ROW] [--write] [--profile] [--peer URL [--peer-pid PID]] [--quick] [--pairs 30]`: measures, prints, and with `--write` keeps what it measured in
 * bench/results.json and docs/benchmarks.md, where other rows stay as they are. Rows are those of bench/rows/index.ts, and
 * `proxy`, `queues` and `connectors`, which have sections of their own; all of them unless `--only` says. `--peer` puts any gateway
 * beside ours, whose function echo is at that URL (bench/proxy.ts). More `--pairs` narrow the intervals of a noisy machine. `--quick` is for trying a row: a fifth of the time. `--profile`
 * looks where the gateways of the rows spend their time (`node --cpu-prof`) instead of how much: quick, and the figures are not kept.
 * `npm run bench -- --smoke [--write]` is the gate of bench/smoke.ts, and takes its baseline; `--control` shows that it can fail.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { tmpdir } from 'node:os';
import { parseArgs } from 'node:util';
import { floors } from './measure.ts';
import { circumstances, writePage } from './page.ts';
import { profileInto, topFrames } from './profile.ts';
import { keepResults, type Result } from './results.ts';
import { rows } from './rows/index.ts';
import { type Bench, type Figure, NotMeasured, type Row } from './rows/row.ts';
import { control, smoke, takeBaseline } from './smoke.ts';

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    peer: { type: 'string' },
    'peer-pid': { type: 'string' },
    write: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    pairs: { type: 'string', default: '30' },
    profile: { type: 'boolean', default: false },
    smoke: { type: 'boolean', default: false },
    control: { type: 'boolean', default: false },
  },
});
const root = join(import.meta.dirname, '..');
/** Sections of the page by programs of their own, and what makes them quick. */
const sections: Readonly<Record<string, readonly string[]>> = {
  proxy: ['--quick'],
  queues: ['--jobs', '2000', '--rounds', '2'],
  connectors: ['--messages', '10000', '--rounds', '2'],
};

// The load comes from core 1; what is measured is on core 0.
execFileSync('taskset', ['-acp', '1', String(process.pid)], { stdio: 'ignore' });
if (values.profile) {
  values.quick = true;
  profileInto(mkdtempSync(join(tmpdir(), 'millrace-profiles-')));
}
if (values.smoke) {
  if (values.write) await takeBaseline(50);
  else process.exitCode = (await smoke(45)) ? 0 : 1;
} else if (values.control) {
  process.exitCode = (await control(40)) ? 0 : 1;
} else {
  await all();
}
process.exit();

async function all(): Promise<void> {
  const known = [...rows.map(({ name }) => name), ...Object.keys(sections)];
  const names = values.only?.split(',') ?? known;
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) throw new Error(`there is no row ${unknown}; there are ${known.join(', ')}`);
  const chosen = rows.filter(({ name }) => names.includes(name));
  if (chosen.length > 0) await measureRows(chosen);
  for (const [name, quick] of Object.entries(sections)) {
    if (!names.includes(name)) continue;
    const args = [...(values.write && !values.profile ? ['--write'] : []), ...(values.quick ? quick : [])];
    if (name === 'proxy' && values.peer !== undefined) {
      args.push('--peer', values.peer);
      if (values['peer-pid'] !== undefined) args.push('--peer-pid', values['peer-pid']);
    }
    execFileSync('taskset', ['-c', '0,1', process.execPath, `bench/${name}.ts`, ...args], {
      cwd: root,
      stdio: 'inherit',
    });
    if (values.profile) keep({ [name]: { frames: tellFrames(name) } });
  }
}

async function measureRows(chosen: readonly Row[]): Promise<void> {
  const home = mkdtempSync(join(root, '.bench-'));
  const bench: Bench = values.quick
    ? { home, blockMs: 1500, blocks: 3, turnMs: 750, pairs: 6 }
    : { home, blockMs: 5000, blocks: 6, turnMs: 1000, pairs: Number(values.pairs) };
  const floor = await floors();
  console.log(floor);
  const found: Record<string, Partial<Result>> = {};
  for (const row of chosen) {
    const figures = await figuresOf(row, bench);
    for (const { what, figure, bar, met } of figures)
      console.log(
        `${row.name}: ${what}: ${figure} (bar ${bar}: ${met === undefined ? 'none' : met ? 'met' : 'MISSED'})`,
      );
    found[row.name] = values.profile ? { frames: tellFrames(row.name) } : { figures };
  }
  rmSync(home, { recursive: true });
  const on = `${circumstances().replaceAll('\n', ' ')}. ${floor}`;
  keep(values.profile ? found : Object.fromEntries(Object.entries(found).map(([name, one]) => [name, { on, ...one }])));
}

/** Where the gateways of a row spent their time. */
function tellFrames(name: string): Readonly<Record<string, readonly string[]>> {
  const frames = topFrames();
  for (const [gateway, lines] of Object.entries(frames))
    console.log(`${name}: the gateway \`${gateway}\` was in\n  ${lines.join('\n  ')}`);
  return frames;
}

function keep(found: Readonly<Record<string, Partial<Result>>>): void {
  if (values.write) writePage(page(keepResults(found)));
}

async function figuresOf({ name, measure }: Row, bench: Bench): Promise<readonly Figure[]> {
  try {
    return await measure(bench);
  } catch (error) {
    if (!(error instanceof NotMeasured)) throw error;
    return [{ what: name, figure: `not measured: ${error.message}`, bar: '', met: undefined }];
  }
}

function page(results: Readonly<Record<string, Result>>): string {
  const kept = rows.flatMap(({ name }) => (results[name] ? [{ name, ...results[name] }] : []));
  const machines = [...new Set(kept.map(({ on }) => on))];
  const lines = kept.flatMap(({ name, on, figures }) =>
    figures.map(({ what, figure, bar, met }) => {
      const verdict = met === undefined ? '' : met ? 'met' : '**missed**';
      return `| ${[`\`${name}\``, what, figure, bar, verdict, machines.indexOf(on) + 1].join(' | ')} |`;
    }),
  );
  return `# Benchmarks

Written by \`npm run bench -- --write\`; \`--only ROW\` measures one of them. On what machine, with what floors:

${machines.map((on, index) => `${index + 1}. ${on}.`).join('\n')}

Method: the server on core 0, a closed loop of 64 keep-alive connections on core 1; blocks of a second of both sides in turn
(ABBA) after five of each to warm up (rows without a number of pairs: six pairs of 5 s). A ratio is the median of the ratios of CPU-milliseconds per 1,000 requests (user and system
time of the server's process and its threads) with the interval in which that lies with 95 % (bootstrap); its bar is met
where the worse end meets it. Any unexpected answer voids the run. Queue files lie on the disk of the sources,
\`synchronous=FULL\`. Starts, first calls and idling are with the environment of \`npm start\`, its compile cache filled.

| row | what | figure | bar | | on |
|---|---|---|---|---|---|
${lines.join('\n')}

## Where the time goes

Of each row that was profiled (\`npm run bench -- --profile --write\`, every 0.5 ms, all threads): the frames at the top of the
stack most often, of the time in which a thread was not idle.

${framesOf(results).join('\n')}
`;
}

function framesOf(results: Readonly<Record<string, Result>>): string[] {
  return Object.entries(results).flatMap(([row, { frames = {} }]) =>
    Object.entries(frames).map(([gateway, lines]) => `- \`${row}\`, its gateway \`${gateway}\`: ${lines.join('; ')}.`),
  );
}
