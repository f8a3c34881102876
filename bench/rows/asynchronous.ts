import { Servers } from '../sides/servers.ts';
import { depth, drained, echoModule, post, startGateway } from '../gateway.ts';
import { compare, cpuMs, type Load, load, medianInterval, openLoad, startSubject, type Subject } from '../measure.ts';
import { type Bench, compared, type Figure, type Row } from './row.ts';

const body = Buffer.alloc(256, 'a');
const path = '/async-function/noop';
const perSecond = 5000;

/** A gateway whose function is paused: it accepts, and nothing runs. */
async function accepting({ home }: Bench, name: string): Promise<Subject> {
  const functions = `  noop: { module: ${echoModule}, isolation: none, invoke: { concurrency: 256 } }`;
  const subject = await startGateway(home, name, { functions });
  await post(subject, '/system/queues/noop/pause');
  await load(subject, path, body, 202, 1500);
  return subject;
}

const rate = ({ requests, seconds }: Load): number => requests / seconds;
const cost = ({ cpuPerThousand }: Load): string => `${cpuPerThousand.toFixed(0)} CPU-ms per 1,000`;

export const accept: Row = {
  name: 'accept',
  measure: async (bench) => {
    const subject = await accepting(bench, 'accept');
    const full = await load(subject, path, body, 202, bench.blockMs * 2);
    const offered: Load[] = [];
    // Several, since what the host of the machine does for a second is the last percent of a block, whoever is measured.
    for (let block = 0; block < bench.blocks * 2; block++) {
      offered.push(await openLoad(subject, path, body, 202, perSecond, bench.blockMs));
    }
    await subject.stop();
    const least = Math.min(...offered.map(rate));
    const middle = offered.toSorted((one, other) => one.p99Ms - other.p99Ms)[Math.floor(offered.length / 2)] ?? full;
    const [low, high] = medianInterval(offered.map(({ p99Ms }) => p99Ms));
    return [
      {
        what: 'durable accept of 256 bytes at saturation, gateway and its threads on one core',
        figure: `${Math.round(rate(full))}/s, p99 ${full.p99Ms.toFixed(1)} ms, ${cost(full)}`,
        bar: `≥ ${perSecond.toLocaleString('en')}/s`,
        met: rate(full) >= perSecond,
      },
      {
        what: `durable accept of 256 bytes, ${perSecond.toLocaleString('en')}/s offered in an open loop`,
        figure: `${Math.round(least)}/s, p50 ${middle.p50Ms.toFixed(1)} ms, p99 ${middle.p99Ms.toFixed(1)} ms (${low.toFixed(1)}–${high.toFixed(1)}, ${offered.length} blocks), ${cost(middle)}`,
        bar: 'all of it at p99 ≤ 15 ms',
        met: least >= perSecond * 0.99 && high <= 15,
      },
    ];
  },
};

export const acceptPeer: Row = {
  name: 'accept-bullmq',
  measure: async (bench) => {
    await using servers = new Servers();
    const redis = await servers.broker('redis', ['appendfsync always']);
    const peer = await startSubject(['bench/servers/fastify-bullmq.ts', redis.url]);
    const ours = await accepting(bench, 'accept-peer');
    const result = await compare(
      () => load(ours, path, body, 202, bench.turnMs),
      async () => {
        const before = cpuMs(redis.pid);
        const done = await load(peer, path, body, 202, bench.turnMs);
        const cpuPerThousand = done.cpuPerThousand + ((cpuMs(redis.pid) - before) * 1000) / done.requests;
        return { ...done, cpuPerThousand };
      },
      bench.pairs,
    );
    for (const subject of [ours, peer]) await subject.stop();
    const what = 'durable accept, against fastify + BullMQ with `appendfsync always`, its Redis counted';
    return [compared(what, result, '≤ 0.8 ×', 0.8)];
  },
};

export const drain: Row = {
  name: 'drain',
  measure: async (bench): Promise<Figure[]> => {
    const subject = await accepting(bench, 'drain');
    const least = 100_000;
    while ((await depth(subject, 'noop')) < least) await load(subject, path, body, 202, 500);
    const count = await depth(subject, 'noop');
    const before = cpuMs(subject.pid);
    const startedAt = performance.now();
    await drained(subject, 'noop', 100);
    const seconds = (performance.now() - startedAt) / 1000;
    const cpu = ((cpuMs(subject.pid) - before) * 1000) / count;
    await subject.stop();
    return [
      {
        what: `drain of ${count.toLocaleString('en')} no-op invocations from sqlite, everything on one core`,
        figure: `${Math.round(count / seconds)}/s, ${cpu.toFixed(0)} CPU-ms per 1,000`,
        bar: '≥ 8,000/s',
        met: count / seconds >= 8000,
      },
    ];
  },
};
