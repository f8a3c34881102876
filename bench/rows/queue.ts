import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { measurePipeline } from '../pipeline.ts';
import type { Row } from './row.ts';

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
    return [
      {
        what: `the embedded queue by itself at a backlog of ${backlog.toLocaleString('en')}`,
        figure: out.trim().replaceAll('\n', '<br>'),
        bar: 'accept and drain ≤ 1.3 × slower than at 0; ≤ 50 bytes of RAM an item; ready ≤ 5 s',
        met: undefined,
      },
    ];
  },
};
