/**
 * Queues next to each other, in turn, and next to BullMQ at the same durability and graphile-worker: `npm run bench:queues -- [--jobs 10000]
 * [--rounds 5] [--write] [NAME…]`. 32 callers and 32 functions at a time that do nothing. A name is a kind of queue,
 * `bullmq` or `graphile`; `@SETTING` is that of the broker: `redis@always bullmq@always` are two queues on one Redis with `appendfsync
 * always`. `--write` puts the table into docs/benchmarks.md.
 */
import { parseArgs } from 'node:util';
import { floors, median, quantile } from './measure.ts';
import { circumstances, writeSection } from './page.ts';
import { NotMeasured } from './rows/row.ts';
import { sides } from './sides/ours.ts';
import { Servers } from './sides/servers.ts';
import { concurrency } from './sides/side.ts';

const all = [
  'memory',
  'bullmq@everysec',
  'redis@everysec',
  'jetstream',
  'amqp',
  'kafka',
  'bullmq@always',
  'redis@always',
  'sqlite',
  'kafka@sync',
  'graphile',
  'graphile@batched',
];
const probes = 200;
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    jobs: { type: 'string', default: '10000' },
    rounds: { type: 'string', default: '5' },
    write: { type: 'boolean', default: false },
  },
});
const jobs = Number(values.jobs);
const rounds = Number(values.rounds);
const names = positionals.length > 0 ? positionals : all;

interface Figures {
  readonly durability: string;
  readonly accept: number;
  readonly drain: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

async function perSecond(work: (count: number) => Promise<void>): Promise<number> {
  const startedAt = performance.now();
  await work(jobs);
  return (jobs / (performance.now() - startedAt)) * 1000;
}

async function measure(servers: Servers, name: string): Promise<Figures> {
  const [kind = '', setting] = name.split('@');
  const make = sides[kind];
  if (!make) throw new Error(`there is no ${kind} to measure; there are ${Object.keys(sides).join(', ')}`);
  const side = await make(servers, setting);
  await side.accept(1000);
  await side.drain(1000);
  const accept = await perSecond(side.accept);
  const drain = await perSecond(side.drain);
  const late = (await side.latencies(probes)).toSorted((a, b) => a - b);
  await side.close();
  return { durability: side.durability, accept, drain, p50Ms: quantile(late, 0.5), p99Ms: quantile(late, 0.99) };
}

const found = new Map<string, Figures[]>(names.map((name) => [name, []]));
/** Why a queue cannot be measured here. */
const missing = new Map<string, string>();
const floor = await floors();
console.log(floor);
{
  await using servers = new Servers();
  for (let round = 0; round < rounds; round++) {
    // In turn, and back again, so that what else the machine does meets all alike.
    for (const name of round % 2 === 0 ? names : names.toReversed()) {
      if (missing.has(name)) continue;
      const figures = await measure(servers, name).catch((error: unknown) => {
        if (!(error instanceof NotMeasured)) throw error;
        missing.set(name, error.message);
      });
      if (!figures) continue;
      found.get(name)?.push(figures);
      const { accept, drain, p50Ms, p99Ms } = figures;
      console.log(
        `${round} ${name.padEnd(16)} accept ${accept.toFixed()}/s, drain ${drain.toFixed()}/s, start ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms`,
      );
    }
  }
}

/** BullMQ at the same durability. */
function peerOf(durability: string): readonly Figures[] {
  return [...found].find(([name, [first]]) => name.startsWith('bullmq') && first?.durability === durability)?.[1] ?? [];
}

/** The ratio, and what the bar says of it. */
function judged(ratio: number, durability: string): string {
  return `${ratio.toFixed(2)} ×${ratio >= (durability === 'disk' ? 2 : 1) ? '' : ' **missed**'}`;
}

/** How many times as quick sqlite drains, and what the bar says of that. */
function againstGraphile(name: string, bar: string, least: number): string {
  const [own = [], peer = []] = [found.get('sqlite'), found.get(name)];
  if (own.length === 0 || peer.length === 0) return '';
  const ratio = median(own.map(({ drain }, round) => drain / (peer[round]?.drain ?? Number.NaN)));
  return `\nsqlite drains ${ratio.toFixed(2)} × what ${name} does (${bar}: ${ratio >= least ? 'met' : '**missed**'}).`;
}

function row([name, figures]: [string, readonly Figures[]]): string {
  const reason = missing.get(name);
  if (reason !== undefined) return `| ${name} | not measured: ${reason} | | | | | | |`;
  const durability = figures[0]?.durability ?? '';
  const peer = peerOf(durability);
  const middle = (of: keyof Omit<Figures, 'durability'>): number => median(figures.map((each) => each[of]));
  const ratios = figures.map(({ drain }, round) => drain / (peer[round]?.drain ?? Number.NaN));
  const ratio = /^(bullmq|graphile)/.test(name) || peer.length === 0 ? '' : judged(median(ratios), durability);
  const range = `${Math.min(...figures.map(({ drain }) => drain)).toFixed()}–${Math.max(...figures.map(({ drain }) => drain)).toFixed()}`;
  const cells = [name, durability, middle('accept').toFixed(), middle('drain').toFixed(), range, ratio];
  return `| ${[...cells, middle('p50Ms').toFixed(2), middle('p99Ms').toFixed(2)].join(' | ')} |`;
}

const text = `Written by \`npm run bench:queues -- --write\` on ${circumstances()}.
Floors of the machine: ${floor}.

Method: queue and client in one process, the broker in another, on one disk; ${concurrency} callers who each await their answer, then ${concurrency}
functions at a time that do nothing and keep a result of two bytes; bodies of 256 bytes; ${jobs.toLocaleString('en')} of each in a block, ${rounds} blocks of every
queue in turn (there and back), medians. Drain against BullMQ is the median of the ratios within a round, at the same
durability: \`page-cache\` next to \`appendfsync everysec\`, \`disk\` next to \`always\`. Start is the time from the call that
enqueues to the begin of the run while nothing else is done, ${probes} times a block. The bar: drain at least 1 × BullMQ with
\`everysec\`, 2 × with \`always\`. graphile-worker works on PostgreSQL as it comes, and \`batched\` as its documentation advises for
throughput; it deletes what is done.

| queue | durability | accept/s | drain/s | of all blocks | drain against BullMQ | start p50 ms | p99 ms |
|---|---|---|---|---|---|---|---|
${[...found].map(row).join('\n')}
${againstGraphile('graphile', 'bar: 1.5 ×', 1.5)}${againstGraphile('graphile@batched', 'the stretch goal: 1 ×', 1)}
`;
console.log(`\n${text}`);
if (values.write) writeSection('queues', text);
process.exit(0);
