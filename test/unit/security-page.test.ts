import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '../..');
const page = readFileSync(join(root, 'SECURITY.md'), 'utf8');

interface Row {
  readonly text: string;
  readonly tests: readonly { readonly file: string; readonly title: string }[];
}

/** Rows of the tables whose last column names tests. */
function rowsOf(text: string): readonly Row[] {
  return text
    .split(/^## /m)
    .filter((section) => /\| (held|tested) by \|/.test(section))
    .flatMap((section) => section.match(/^\| .*\|$/gm)?.slice(1) ?? [])
    .map((row) => ({
      text: row,
      tests: [...row.matchAll(/`(test\/[^`]+\.test\.ts)`: "([^"]+)"/g)].map(([, file = '', title = '']) => ({
        file,
        title,
      })),
    }));
}

/** Whether that is how a test begins to be called, or a row of a table of tests. */
function isTitleIn(text: string, title: string): boolean {
  return text
    .split('\n')
    .some((line) => line.includes(title) && /^\s*(\]?\)?\(?|\[|(it|test|describe)(\.\w+)?\(.*)['"`]/.test(line));
}

/** What a page says of tests that are not there. */
function missingIn(rows: readonly Row[]): readonly string[] {
  return rows.flatMap(({ tests }) =>
    tests.flatMap(({ file, title }) => {
      const path = join(root, file);
      return existsSync(path) && isTitleIn(readFileSync(path, 'utf8'), title) ? [] : `${file}: ${title}`;
    }),
  );
}

describe('SECURITY.md', () => {
  const rows = rowsOf(page);
  it('names a test that is there for each thing that it says', () => {
    expect(rows.length).toBeGreaterThan(50);
    expect(missingIn(rows)).toEqual([]);
    const without = rows.filter(({ tests }) => tests.length === 0).map(({ text }) => text.split('|')[1]?.trim());
    expect(without).toEqual([]);
  });
  it('would be found out', () => {
    const refer = (file: string): string => `\`test/unit/${file}\`: ${JSON.stringify(['there is', 'none'].join(' '))}`;
    const made = `## x\n| a | tested by |\n|---|---|\n| b | ${refer('security-page.test.ts')}, ${refer('no.test.ts')} |\n`;
    expect(missingIn(rowsOf(made))).toHaveLength(2);
  });
  it('is found from where people look', () => {
    for (const file of ['README.md', 'docs/auth.md'])
      expect(readFileSync(join(root, file), 'utf8')).toContain('SECURITY.md');
  });
});
