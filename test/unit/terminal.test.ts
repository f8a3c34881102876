import fc from 'fast-check';
import { stripVTControlCharacters } from 'node:util';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { ProgressBar } from '../../core/cli/progress-bar.ts';
import { table } from '../../core/cli/output.ts';
import { didYouMean } from '../../core/config/suggest.ts';
import { prettyLine } from '../../core/observe/pretty.ts';
import { seed } from '../support/promise.ts';

const at = '2026-11-28T21:00:01.234Z';
const shown = (entry: object, coloured = false): string => prettyLine(`${JSON.stringify(entry)}\n`, coloured);

describe('the log on a terminal', () => {
  it('has time, level and message in a line, and each field below', () => {
    expect(shown({ level: 30, time: at, url: 'http://x', n: 3, deep: { a: [1] }, msg: 'ready' })).toBe(
      `[21:00:01.234] INFO: ready
    url: "http://x"
    n: 3
    deep: {
      "a": [
        1
      ]
    }
`,
    );
  });
  it('shows a stack line by line', () => {
    const err = { type: 'Error', message: 'boom', stack: 'Error: boom\n    at a (b:1:2)', code: 'X' };
    const lines = shown({ level: 50, time: at, err, msg: 'a plugin failed' }).split('\n');
    expect(lines.slice(0, 4)).toEqual([
      '[21:00:01.234] ERROR: a plugin failed',
      '    err: ',
      '        Error: boom',
      '            at a (b:1:2)',
    ]);
    expect(lines.join('\n')).toContain('"code": "X"');
  });
  it('has colours, which change no word', () => {
    const entry = { level: 40, time: at, a: 1, msg: 'careful' };
    expect(shown(entry, true)).toContain('\u001B[33mWARN\u001B[39m');
    expect(stripVTControlCharacters(shown(entry, true))).toBe(shown(entry));
  });
  it('lets nobody write over it', () => {
    const evil = '\u001B[2Jgone\r\u009B1m';
    const err = { message: evil, stack: evil };
    const text = shown({ level: 30, time: at, [evil]: evil, err, msg: evil });
    // oxlint-disable-next-line no-control-regex -- what is looked for.
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
    expect(text).toContain('gone');
  });
  it('leaves alone what is no entry', () => {
    for (const line of ['{"level":30,[redacted]:1}\n', 'null\n', '3\n']) expect(prettyLine(line)).toBe(line);
  });
});

describe('a table', () => {
  it('has columns as wide as their widest cell, however wide its characters are', () => {
    const made = stripVTControlCharacters(
      table(
        ['NAME', 'N'],
        [
          ['日本', 1],
          ['e\u0301te', 2],
          ['🙂', 3],
          ['abcdef', 4],
        ],
      ),
    );
    expect(made.split('\n')).toEqual([' NAME     N', ' 日本     1', ' e\u0301te      2', ' 🙂       3', ' abcdef   4']);
  });
  it('is not moved by colours', () => {
    expect(table(['A', 'B'], [['\u001B[31mx\u001B[39m', 'y']]).split('\n')[1]).toBe(' \u001B[31mx\u001B[39m   y');
  });
});

describe('a progress bar', () => {
  afterEach(() => void vi.useRealTimers());
  it('says how much is done and how long the rest takes', () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    const written: string[] = [];
    const out = { write: (text: string) => written.push(text) > 0, cursorTo: () => true, clearLine: () => true };
    const bar = new ProgressBar('replaying', 40, out);
    vi.advanceTimersByTime(5000);
    bar.update(10);
    bar.increment();
    bar.update(60);
    bar.stop();
    expect(written).toEqual([
      `replaying ${'░'.repeat(40)} 0/40 -`,
      `replaying ${'█'.repeat(10)}${'░'.repeat(30)} 10/40 15s`,
      `replaying ${'█'.repeat(11)}${'░'.repeat(29)} 11/40 13s`,
      `replaying ${'█'.repeat(40)} 60/40 -`,
      '\n',
    ]);
  });
});

describe('did you mean', () => {
  it.each([
    ['schedul', ['schedule', 'function'], 'schedule'],
    ['fucntion', ['schedule', 'function'], 'function'],
    ['ab', ['xyz', 'ba'], 'ba'],
    ['environment', ['env', 'image'], 'env'],
    ['x', ['schedule'], undefined],
    ['x', [], undefined],
  ])('%s among %j', (word, candidates, expected) => {
    expect(didYouMean(word, candidates)).toBe(expected === undefined ? '' : `, did you mean "${expected}"?`);
  });
  it('finds one of the nearest, as the plain definition has it', () => {
    const edits = (one: string, other: string): number => {
      if (one === '' || other === '') return one.length + other.length;
      const [a, b] = [one.slice(1), other.slice(1)];
      if (one[0] === other[0]) return edits(a, b);
      return 1 + Math.min(edits(a, b), edits(a, other), edits(one, b));
    };
    const word = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 6 });
    fc.assert(
      fc.property(word, fc.array(word, { minLength: 1, maxLength: 4 }), (typed, candidates) => {
        const [, found] = /"(\w*)"/.exec(didYouMean(typed, candidates)) ?? [];
        const least = Math.min(...candidates.map((each) => edits(typed, each)));
        if (least <= 2) expect(edits(typed, found ?? '(none)')).toBe(least);
        else expect(found === undefined || typed.startsWith(found)).toBe(true);
      }),
      { seed },
    );
  });
});
