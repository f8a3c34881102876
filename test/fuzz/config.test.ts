import fc from 'fast-check';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { createSchedule, scheduleProblem } from '../../connectors/cron/schedule.ts';
import { annotatedOf } from '../../core/config/annotations.ts';
import { interpolate } from '../../core/config/interpolate.ts';
import { parseTree } from '../../core/config/tree.ts';
import { formatDuration, parseBytes, parseDuration } from '../../core/config/units.ts';
import type { KubeObject } from '../../plugins/providers/kubernetes/kinds.ts';
import { KubeError } from '../../plugins/providers/kubernetes/kube-error.ts';
import { watchEventOf } from '../../plugins/providers/kubernetes/watch-event.ts';
import { fuzz, growsLinearly } from './fuzz.ts';
import { jsonText, nearly, noise } from './inputs.ts';

const folder = mkdtempSync(join(tmpdir(), 'millrace-fuzz-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

fuzz({
  name: 'a duration',
  inputs: fc.oneof(nearly('1m30s', '250ms', '2d', 'PT30S', 'P1DT2H', '0.5s', '364d23h'), noise),
  parse: (text) => parseDuration(text),
  holds: (ms) => {
    if (ms === undefined) return;
    expect(Number.isSafeInteger(ms) && ms >= 0 && ms <= 365 * 86_400_000).toBe(true);
    expect(parseDuration(formatDuration(ms))).toBe(ms);
  },
  // As many libraries read it: the first number, whatever follows.
  planted: (text) => (/\d/.test(text) ? 1000 * Number.parseFloat(text) : undefined),
});

fuzz({
  name: 'a size',
  inputs: fc.oneof(nearly('256KiB', '1.5MiB', '10GB', '1 TB', '8B'), noise),
  parse: (text) => parseBytes(text),
  holds: (bytes) => {
    if (bytes !== undefined) expect(Number.isSafeInteger(bytes) && bytes >= 0).toBe(true);
  },
  planted: (text) => Number.parseFloat(text) * 1024,
});

fuzz({
  name: 'a reference to the environment',
  inputs: fc.oneof(nearly('a ${PORT} b', '${UNSET:x}', '${UNSET:?why}', '$${PORT}', '${file:/none}'), noise),
  parse: (text) => interpolate(text, { PORT: '8443' }, folder),
  // It says what is wrong, for the place in the file.
  mayThrow: (error) => error instanceof Error && error.constructor === Error,
  holds: ({ text, changed }, given) => {
    if (!given.includes('${')) expect([text, changed]).toEqual([given, false]);
  },
  planted: (text) => ({ text: text.replaceAll(/\$(\w+)/g, ''), changed: false, whole: false, secrets: [] }),
});

const schedules = nearly(
  '15 3 * * MON-FRI',
  '*/5 * * * * *',
  '@daily',
  '@every 30s',
  '0 0 L * *',
  '0 0 * * 5#2',
  '? ? * * ?',
);
fuzz({
  name: 'a schedule',
  inputs: fc.oneof(schedules, noise),
  parse: (text) => ({ problem: scheduleProblem(text), text }),
  holds: ({ problem, text }) => {
    if (problem !== undefined) return expect(problem).not.toBe('');
    const now = Date.UTC(2026, 10, 28);
    const next = createSchedule({ schedule: text, timeZone: 'Europe/Berlin' }).next(now);
    if (next !== undefined) expect(next).toBeGreaterThan(now);
  },
  planted: (text) => ({ problem: text.trim().split(/\s+/).length === 5 ? undefined : 'expected five fields', text }),
});

const words = fc.dictionary(
  fc.constantFrom(
    'com.openfaas.scale.min',
    'com.openfaas.scale.max',
    'com.openfaas.scale.zero',
    'com.openfaas.scale.zero-duration',
    'com.openfaas.scale.target',
    'com.openfaas.retry.attempts',
    'com.openfaas.retry.codes',
    'com.openfaas.retry.min_wait',
    'com.openfaas.retry.max_wait',
    'com.openfaas.queue',
    'millrace.dev/auth',
    'max_inflight',
    '__proto__',
  ),
  fc.oneof(nearly('1', '20', 'true', '30s', '429,502,503', 'public', '0.5'), noise),
);
fuzz({
  name: 'the annotations of a function',
  inputs: fc.tuple(words, words, words),
  parse: ([labels, annotations, env]) => annotatedOf(labels, annotations, env),
  holds: ({ scale, retry, problems, invoke }) => {
    for (const { message, path } of problems) expect([message, path.length]).toEqual([expect.stringMatching(/./), 2]);
    for (const key of ['min', 'max', 'factor']) expect(Number.isSafeInteger(scale[key] ?? 1)).toBe(true);
    expect(Number.isSafeInteger(retry?.attempts ?? 1) && (retry?.attempts ?? 1) >= 1).toBe(true);
    for (const ms of [retry?.initialMs ?? 0, retry?.maxMs ?? 0]) expect(Number.isSafeInteger(ms)).toBe(true);
    for (const code of retry?.codes ?? []) expect(code).toMatch(/^[1-5]\d\d$/);
    expect(Number(invoke['perReplica'] ?? 1)).toBeGreaterThan(0);
  },
  planted: ([labels, annotations, env]) => {
    const read = annotatedOf(labels, annotations, env);
    return { ...read, retry: { attempts: Number(annotations['com.openfaas.retry.attempts'] ?? 1) } };
  },
});

fuzz({
  name: 'a line of a watch of Kubernetes',
  inputs: fc.oneof(
    nearly(
      '{"type":"ADDED","object":{"metadata":{"name":"a","namespace":"n","resourceVersion":"5","uid":"u"}}}',
      '{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"5"}}}',
      '{"type":"ERROR","object":{"code":410}}',
    ),
    jsonText,
  ),
  parse: (text) => watchEventOf(JSON.parse(text)),
  // `jsonLines` makes the same of what is no JSON.
  mayThrow: (error) => error instanceof KubeError || error instanceof SyntaxError,
  holds: ({ type, object }) => {
    if (type !== 'ERROR') expect((object as KubeObject).metadata.resourceVersion).toBeTypeOf('string');
  },
  planted: (text) => JSON.parse(text) as ReturnType<typeof watchEventOf>,
});

describe('what reading costs', () => {
  it.each<[string, (text: string) => unknown, (length: number) => string]>([
    ['a duration', parseDuration, (length) => `${'1s'.repeat(length / 2)}x`],
    ['a number without an end', parseDuration, (length) => '1'.repeat(length)],
    ['a size', parseBytes, (length) => `${'9'.repeat(length)}.`],
    ['references', (text) => interpolate(text, {}, folder), (length) => '$${'.repeat(length / 3)],
    ['an open reference', (text) => interpolate(text, {}, folder), (length) => `\${${'A'.repeat(length)}`],
    ['YAML', (text) => parseTree(text, 'f', {}, folder), (length) => 'a: b\n'.repeat(length / 5)],
    ['a schedule', scheduleProblem, (length) => '1,'.repeat(length / 2)],
  ])('%s grows with the length of the text (P18)', (_name, read, textOf) => {
    expect(growsLinearly(read, textOf)).toBe(true);
  });
  it('a pattern that goes back and back is found out', () => {
    const planted = /\s+$/;
    expect(
      growsLinearly(
        (text) => planted.test(text),
        (length) => `${' '.repeat(length)}x`,
      ),
    ).toBe(false);
  });
});
