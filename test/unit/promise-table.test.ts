import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { markers, promises, promisesIn, promiseTable, type Report, withTable } from '../support/promise-table.ts';

const root = join(import.meta.dirname, '../..');

type Test = Report['testResults'][number]['assertionResults'][number];

function report(files: Readonly<Record<string, readonly Test[]>>): Report {
  return {
    startTime: Date.UTC(2026, 10, 28, 12),
    testResults: Object.entries(files).map(([name, assertionResults]) => ({
      name: join(root, name),
      assertionResults,
    })),
  };
}

const rowsOf = (given: Report): readonly string[] => promiseTable(given, root).split('\n').slice(3, -1);

describe('the table of promises', () => {
  it('has a row for each promise that a test showed, with what it saw, and its seed', () => {
    const rows = rowsOf(
      report({
        'test/chaos/cuts.test.ts': [
          {
            fullName: 'cuts lose nothing (P1)',
            status: 'passed',
            meta: { promise: { seed: 7, result: '15 cuts, 0 lost' } },
          },
          { fullName: 'something else', status: 'passed' },
        ],
        'test/unit/other.test.ts': [{ fullName: 'orders (P6, P2) too', status: 'passed' }],
      }),
    );
    expect(rows).toEqual([
      `| P1 | ${promises['P1']} | \`test/chaos/cuts.test.ts\` | 15 cuts, 0 lost (seed 7) |`,
      `| P2 | ${promises['P2']} | \`test/unit/other.test.ts\` | 1 test passed |`,
      `| P6 | ${promises['P6']} | \`test/unit/other.test.ts\` | 1 test passed |`,
    ]);
  });
  it('leaves out promises whose tests did not run, and says which failed', () => {
    const rows = rowsOf(
      report({
        'test/a.test.ts': [
          { fullName: 'skipped (P3)', status: 'skipped' },
          { fullName: 'broken | here (P4)', status: 'failed', meta: { promise: { result: 'never shown' } } },
          { fullName: 'fine (P4)', status: 'passed' },
        ],
      }),
    );
    expect(rows).toEqual([
      `| P4 | ${promises['P4']} | \`test/a.test.ts\` | **failed**: broken \\| here (P4); 1 test passed |`,
    ]);
  });
  it('says once what many saw alike, and names a folder instead of its many files', () => {
    const one = (seed: number): Test => ({
      fullName: 'is parsed (P18)',
      status: 'passed',
      meta: { promise: { seed, result: '10 inputs' } },
    });
    const files = Object.fromEntries([1, 2, 3, 4].map((seed) => [`test/fuzz/${seed}.test.ts`, [one(seed)]]));
    expect(rowsOf(report({ ...files, 'test/b.test.ts': [{ fullName: '(P18)', status: 'passed' }] }))).toEqual([
      `| P18 | ${promises['P18']} | \`test/b.test.ts\`, \`test/fuzz\` (4 files) | 4 × 10 inputs; 1 more test passed |`,
    ]);
  });
  it('refuses a number that there is not', () => {
    expect(() => rowsOf(report({ 'a.test.ts': [{ fullName: 'x (P31)', status: 'passed' }] }))).toThrow(
      'no promise P31',
    );
  });
  it('takes the place between its markers, and nothing else', () => {
    const text = `before\n${markers.from}\nold\n${markers.to}\nafter`;
    expect(withTable(text, 'new')).toBe(`before\n${markers.from}\nnew\n${markers.to}\nafter`);
    expect(() => withTable('none', 'new')).toThrow('no place');
  });
});

describe('the README', () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  const table = readme.slice(readme.indexOf(markers.from), readme.indexOf(markers.to));
  const printed = [...table.matchAll(/^\| (P\d+) \| (.*?) \|/gm)].map(([, id = '', text]) => [id, text] as const);

  it('prints promises, in the words of today', () => {
    expect(printed.length).toBeGreaterThan(0);
    for (const [id, text] of printed) expect(text).toBe(promises[id]);
    expect(table).not.toContain('**failed**');
  });
  it('prints none that has no test of its number', () => {
    const sources = globSync('{test,core}/**/*.ts', { cwd: root })
      .filter((file) => !file.includes('promise-table'))
      .flatMap((file) => promisesIn(readFileSync(join(root, file), 'utf8')));
    const tested = new Set(sources);
    expect(printed.map(([id]) => id).filter((id) => !tested.has(id))).toEqual([]);
  });
});
