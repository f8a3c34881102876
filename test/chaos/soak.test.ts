import { describe, expect, it } from 'vitest';
import { saw } from '../support/promise.ts';
import { soak } from './soak.ts';
import { type Sample, slopeOf, verdictOf } from './soak-verdict.ts';

/** Here only the instrument is looked at: that nothing grows takes longer to say (`npm run soak -- --minutes 30`). */
const short = { ms: 12_000, everyMs: 1500 };

describe('a gateway under a mixed load', () => {
  it.concurrent(
    'has as many descriptors, timers and threads in the end as before (P22)',
    { timeout: 180_000 },
    async ({ task, expect: say }) => {
      const { grew, counts, line } = verdictOf(await soak(short));
      say(grew, line).toEqual([]);
      saw(task, { result: `${short.ms / 1000} s of mixed calls: ${counts}` });
    },
  );
  it.concurrent.each(['timers', 'descriptors'] as const)(
    'is found out when it leaks %s, ten a second',
    { timeout: 180_000 },
    async (leak) => {
      const { grew } = verdictOf(await soak({ ...short, leak }));
      expect(grew).toEqual([expect.stringMatching(new RegExp(`^${leak} grew`))]);
    },
  );
});

describe('the verdict', () => {
  const minute = 60_000;
  const samples = (of: (minutes: number) => Partial<Sample>): readonly Sample[] =>
    Array.from({ length: 120 }, (_, index) => ({
      atMs: (index * minute) / 2,
      rssMiB: 200 + (index % 7),
      heapMiB: 40,
      committedMiB: 60,
      externalMiB: 8,
      descriptors: 80 + (index % 3),
      threads: 12,
      timers: 10,
      p99Ms: 5 + (index % 2) / 10,
      cpu: 0.3,
      calls: 100,
      ...of(index / 2),
    }));

  it('is "flat" for what goes up and down', () => {
    expect(verdictOf(samples(() => ({}))).grew).toEqual([]);
  });
  it('says what grows, also by little at a time', () => {
    expect(verdictOf(samples((minutes) => ({ rssMiB: 200 + minutes }))).grew).toEqual(['RSS grows by 60.0 MiB/h']);
    expect(verdictOf(samples((minutes) => ({ threads: 12 + Math.floor(minutes / 10) }))).grew).toHaveLength(1);
    expect(verdictOf(samples((minutes) => ({ p99Ms: 5 + minutes / 20 }))).grew).toHaveLength(1);
    expect(verdictOf(samples((minutes) => ({ timers: 10 + minutes }))).grew).toHaveLength(1);
  });
  it('takes garbage that comes and goes for none, and finds a leak in it', () => {
    // As it was measured: ± 5 MiB, each time for some minutes.
    const garbage = (minutes: number): number => 365 + 5 * Math.sin(minutes) + 2 * Math.sin(minutes * 2.7);
    expect(verdictOf(samples((minutes) => ({ rssMiB: garbage(minutes) }))).grew).toEqual([]);
    expect(verdictOf(samples((minutes) => ({ rssMiB: garbage(minutes) + minutes }))).grew).toEqual([
      expect.stringMatching(/^RSS grows by [56]\d\.\d MiB\/h$/),
    ]);
  });
  it('takes the memory of a gateway that is let do more for no growth, and finds little growth in a long run', () => {
    // As it was measured when the others on the machine ended.
    const busier = (minutes: number): Partial<Sample> =>
      minutes < 45 ? { rssMiB: 360, calls: 1400 } : { rssMiB: 371, calls: 3900 };
    expect(verdictOf(samples(busier)).grew).toEqual([]);
    const day = samples((minutes) => ({ rssMiB: 360 + 2 * minutes })).map((one) => ({ ...one, atMs: 24 * one.atMs }));
    expect(verdictOf(day).grew).toEqual(['RSS grows by 5.0 MiB/h']);
  });
  it('judges memory by the later half: what fills up once is no leak, what has just begun to grow is one', () => {
    const filling = (minutes: number): number => 300 + 2 * Math.min(minutes, 25);
    expect(verdictOf(samples((minutes) => ({ rssMiB: filling(minutes) }))).grew).toEqual([]);
    const late = (minutes: number): number => 300 + Math.max(0, minutes - 35);
    expect(verdictOf(samples((minutes) => ({ rssMiB: late(minutes) }))).grew).toHaveLength(1);
  });
  it('says nothing of memory after less than twenty minutes', () => {
    const growing = samples((minutes) => ({ rssMiB: 300 + 10 * minutes })).filter(({ atMs }) => atMs < 19 * minute);
    expect(verdictOf(growing)).toMatchObject({ grew: [], line: expect.stringContaining('too short') });
  });
  it('does not look at the time in which a gateway warms up', () => {
    expect(
      verdictOf(samples((minutes) => (minutes < 9 ? { rssMiB: 100 + 10 * minutes, timers: 0 } : {}))).grew,
    ).toEqual([]);
  });
  it('knows the line through points, and how sure it is', () => {
    expect(
      slopeOf([
        [0, 1],
        [1, 3],
        [2, 5],
      ]),
    ).toEqual({ slope: 2, error: 0 });
    expect(
      slopeOf([
        [0, 0],
        [1, 1],
        [2, 0],
        [3, 1],
      ]).error,
    ).toBeGreaterThan(0.2);
  });
});
