import { describe, expect, it } from 'vitest';
import { broken, check, type Execution, type History } from './checker.ts';

const call = { callId: 'c1', id: 'i1', function: 'ok', body: 'sha' };
const run = (callId: string, attempt = 1): Execution[] =>
  (['start', 'end'] as const).map((event) => ({ callId, function: 'ok', attempt, event }));

const good: History = {
  accepted: [call],
  unknown: new Set(),
  executions: run('c1'),
  terminals: [{ id: 'i1', state: 'succeeded' }],
  dead: [],
  attemptsOf: { ok: 1 },
  dying: new Set(['bad']),
  kills: 1,
  atRisk: 1,
  complaints: [],
  drift: 0,
};
const complaints = (change: Partial<History>): string => broken(check({ ...good, ...change })).join('\n');

describe('the checker of the crash test', () => {
  it('finds nothing in a good history', () => {
    expect(complaints({})).toBe('');
  });
  it('finds what was accepted and never ran', () => {
    expect(complaints({ executions: [] })).toMatch(/1 lost: i1/);
  });
  it('excuses what expired or was cancelled', () => {
    expect(complaints({ executions: [], terminals: [{ id: 'i1', state: 'expired' }] })).toBe('');
  });
  it('excuses what kills alone made a dead letter, if the letter is there', () => {
    const history = {
      executions: [],
      accepted: [{ ...call, function: 'bad' }],
      terminals: [{ id: 'i1', state: 'dead' }],
    };
    expect(
      complaints({ ...history, dead: [{ id: 'i1', reason: 'crashed', body: 'sha', attempts: 3, errors: 3 }] }),
    ).toBe('');
    expect(complaints({ ...history, dead: [] })).toMatch(/1 lost: i1/);
  });
  it('finds an invocation without an end, and one with two', () => {
    expect(complaints({ terminals: [] })).toMatch(/without exactly one end/);
    expect(complaints({ terminals: [{ id: 'i1', state: 'running' }] })).toMatch(/without exactly one end/);
    const twice = [
      { id: 'i1', state: 'succeeded' },
      { id: 'i1', state: 'dead' },
    ];
    expect(complaints({ terminals: twice })).toMatch(/succeeded, dead/);
  });
  it('finds phantoms, but not what may have been accepted', () => {
    const executions = [...run('c1'), ...run('c2')];
    expect(complaints({ executions })).toMatch(/1 run but never accepted: c2/);
    expect(complaints({ executions, unknown: new Set(['c2']) })).toBe('');
  });
  it('allows as many duplicates as were in flight, and no more', () => {
    expect(complaints({ executions: [...run('c1'), ...run('c1', 2)] })).toBe('');
    expect(complaints({ executions: [...run('c1'), ...run('c1', 2), ...run('c1', 3)] })).toMatch(/2 duplicates/);
    expect(complaints({ executions: [...run('c1'), ...run('c1', 2)], attemptsOf: { ok: 2 }, atRisk: 0 })).toBe('');
  });
  it('finds a key that was overtaken', () => {
    const accepted = [1, 2].map((number) => ({
      ...call,
      callId: `c${number}`,
      id: `i${number}`,
      order: { key: 'k', number },
    }));
    const terminals = accepted.map(({ id }) => ({ id, state: 'succeeded' }));
    expect(complaints({ accepted, terminals, executions: [...run('c1'), ...run('c2')] })).toBe('');
    const [start, end] = run('c1') as [Execution, Execution];
    expect(complaints({ accepted, terminals, executions: [start, ...run('c2'), end] })).toMatch(/2 began before 1/);
    expect(complaints({ accepted, terminals, executions: [...run('c2'), ...run('c1')] })).toMatch(/2 began before 1/);
  });
  it('finds dead letters that are missing, doubled, changed, empty or uncalled for', () => {
    const accepted = [{ ...call, function: 'bad' }];
    const letter = { id: 'i1', reason: 'max_attempts', body: 'sha', attempts: 3, errors: 3 };
    const terminals = [{ id: 'i1', state: 'dead' }];
    const history = { accepted, terminals, attemptsOf: { bad: 3 } };
    expect(complaints({ ...history, dead: [letter] })).toBe('');
    expect(complaints({ ...history, dead: [] })).toMatch(/is 0 dead letters/);
    expect(complaints({ ...history, dead: [letter, letter] })).toMatch(/is 2 dead letters/);
    expect(complaints({ ...history, dead: [{ ...letter, body: 'other' }] })).toMatch(/another body/);
    expect(complaints({ ...history, dead: [{ ...letter, errors: 0 }] })).toMatch(/no errors/);
    expect(complaints({ dead: [letter] })).toMatch(/is a dead letter/);
  });
  it('passes on what was wrong by itself', () => {
    expect(complaints({ complaints: ['answered with 500'] })).toMatch(/1 complaints: answered with 500/);
  });
  it('finds numbers that do not add up', () => {
    expect(complaints({ drift: 2 })).toMatch(/cannot account for 2/);
  });
});
