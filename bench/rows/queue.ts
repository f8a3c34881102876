import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { median } from '../measure.ts';
import { measurePipeline } from '../pipeline.ts';
import type { Growth } from '../queue.ts';
import type { Figure, Row } from './row.ts';

const root = join(import.meta.dirname, '../..');
const backlog = 1_000_000;

export const pipeline: Row = {
  name: 'pipeline',
  measure: async () => {
    const { overheadUs } = await measurePipeline();
    return [
      {
        what: 'bare pipeline over the same functions awaited in a row',
        figure: `${overheadUs.toFixed(2)} µs an invocation`,
        bar: '≤ 5 µs',
        met: overheadUs <= 5,
      },
    ];
  },
};

/** Growth with the backlog, measured at the queue itself: bench/queue.ts says how. */
export const growth: Row = {
  name: 'growth',
  measure: async () => {
    const out = execFileSync(process.execPath, ['bench/queue.ts', String(backlog)], {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const { empty, behind, beside, bytesPerItem, readyMs } = JSON.parse(out) as Growth;
    const what = `the embedded queue by itself at a backlog of ${backlog.toLocaleString('en')}`;
    const slower = (does: string, [at0, same, other]: readonly (readonly number[])[]): Figure => {
      const rates = [at0, same, other].map((all) => median(all ?? []));
      const [atFirst = 0, ...later] = rates;
      const times = later.map((rate) => atFirst / rate);
      return {
        what: `${what}: ${does}, behind and beside it, against an empty one`,
        figure: `${times.map((one) => one.toFixed(2)).join(' and ')} × slower: ${later.join(' and ')}/s against ${atFirst}/s`,
        bar: '≤ 1.3 × slower',
        met: Math.max(...times) <= 1.3,
      };
    };
    return [
      slower('enqueue one by one, 64 in flight', [empty.enqueue, behind.enqueue, beside.enqueue]),
      slower('lease and ack, 4 × 32', [empty.drain, behind.drain, beside.drain]),
      {
        what: `${what}: resident memory`,
        figure: `${bytesPerItem.toFixed(1)} bytes an item`,
        bar: '≤ 50 bytes',
        met: bytesPerItem <= 50,
      },
      {
        what: `${what}: opened and the first one leased`,
        figure: `${readyMs.toFixed(0)} ms`,
        bar: '≤ 5 s',
        met: readyMs <= 5000,
      },
    ];
  },
};
