import { describe, expect, it } from 'vitest';
import baseline from '../../bench/baseline.json' with { type: 'json' };
import { judge } from '../../bench/gate.ts';

/** Ratios that scatter by 8 % around one, as those of a round do on a machine that does little else. */
const around = (ratio: number): number[] => [0, 6, -4, 8, -7, 3, -1, -8].map((percent) => ratio * (1 + percent / 100));

describe('the gate on the cost of a call', () => {
  it('keeps what costs as much as before, or less', () => {
    expect(judge(around(2), 2).state).toBe('kept');
    expect(judge(around(1.2), 2).state).toBe('kept');
  });
  it('fails for 30 % more', () => {
    expect(judge(around(2.6), 2).state).toBe('regressed');
  });
  it('says nothing for sure at its limit, of few rounds, or of none', () => {
    expect(judge(around(2.3), 2).state).toBe('unclear');
    expect(judge(around(4).slice(0, 4), 2).state).toBe('unclear');
    expect(judge([], 2).state).toBe('unclear');
  });
  it('has a baseline for every case', () => {
    expect(Object.keys(baseline.ratios)).toEqual(['inline', 'pooled', 'accept', 'drain']);
    for (const ratio of Object.values(baseline.ratios)) expect(ratio).toBeGreaterThan(1);
  });
});
