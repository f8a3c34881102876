import { describe, expect, it } from 'vitest';
import type { Execution } from './checker.ts';
import { brokenMessages, type MessageHistory } from './connector-checker.ts';

const message = { id: 'm1', topic: 'processed', behaviour: 'ok', body: 'sha' } as const;
const run = (callId: string, attempt = 1): Execution[] =>
  (['start', 'end'] as const).map((event) => ({ callId, function: 'message', attempt, event }));
const good: MessageHistory = {
  confirmed: [message],
  unknown: new Set(),
  executions: run('m1'),
  dead: [],
  attempts: 3,
  ordered: ['processed'],
  atRisk: 1,
  left: 0,
  drift: 0,
  complaints: [],
};
const complaints = (change: Partial<MessageHistory>): string => brokenMessages({ ...good, ...change }).join('\n');

describe('the checker of the crash test of connectors', () => {
  it('finds nothing in a good history', () => {
    expect(complaints({})).toBe('');
    expect(complaints({ left: undefined })).toBe('');
  });
  it('finds what was confirmed and never ran to an end', () => {
    expect(complaints({ executions: [] })).toMatch(/1 lost: m1/);
    expect(complaints({ executions: run('m1').slice(0, 1) })).toMatch(/1 lost: m1/);
  });
  it('finds what nobody sent, but for what may have been', () => {
    const executions = [...run('m1'), ...run('m2')];
    expect(complaints({ executions })).toMatch(/1 run but never sent: m2/);
    expect(complaints({ executions, unknown: new Set(['m2']) })).toBe('');
  });
  it('allows as many to be given again as were under way, and no more', () => {
    expect(complaints({ executions: [...run('m1'), ...run('m1', 2)] })).toBe('');
    expect(complaints({ executions: [...run('m1'), ...run('m1', 2), ...run('m1', 3)] })).toMatch(/2 given again/);
    const confirmed = [{ ...message, behaviour: 'fail-once' as const }];
    expect(complaints({ confirmed, executions: [...run('m1'), ...run('m1', 2)], atRisk: 0 })).toBe('');
  });
  it('finds dead letters that are missing, changed, empty, doubled or uncalled for', () => {
    const confirmed = [{ ...message, behaviour: 'fail-always' as const }];
    const executions = [...run('m1'), ...run('m1', 2), ...run('m1', 3)];
    const letter = { body: 'sha', errors: 3, reason: 'max_attempts' };
    expect(complaints({ confirmed, executions, dead: [letter], atRisk: 0 })).toBe('');
    expect(complaints({ confirmed, executions })).toMatch(/is no dead letter/);
    expect(complaints({ confirmed, executions, dead: [{ ...letter, body: 'other' }] })).toMatch(/is no dead letter/);
    expect(complaints({ confirmed, executions, dead: [{ ...letter, errors: 0 }] })).toMatch(/has no errors/);
    expect(complaints({ confirmed, executions, dead: [letter, letter], atRisk: 0 })).toMatch(/1 given again/);
    expect(complaints({ dead: [letter] })).toMatch(/is a dead letter \(max_attempts\)/);
    expect(complaints({ executions: [], dead: [{ ...letter, reason: 'crashed' }] })).toBe('');
  });
  it('finds what began before the one before it with its key had ended, on topics that keep the order', () => {
    const [first, second] = ['m1', 'm2'].map((id) => ({ ...message, id, body: id, key: 'k' }));
    const confirmed = [first!, second!];
    const inOrder = [...run('m1'), ...run('m2')];
    expect(complaints({ confirmed, executions: inOrder })).toBe('');
    expect(complaints({ confirmed, executions: [...inOrder, ...run('m1')] })).toBe('');
    const swapped = [...run('m2'), ...run('m1')];
    expect(complaints({ confirmed, executions: swapped })).toMatch(/1 out of order: m2 \(processed k\) before m1/);
    expect(complaints({ confirmed, executions: swapped, ordered: [] })).toBe('');
    expect(complaints({ confirmed: [first!, { ...second!, key: 'l' }], executions: swapped })).toBe('');
    const between = [...run('m1').slice(0, 1), ...run('m2'), ...run('m1').slice(1)];
    expect(complaints({ confirmed, executions: between })).toMatch(/1 out of order/);
    const tried = [{ ...first!, behaviour: 'fail-once' as const }, second!];
    expect(complaints({ confirmed: tried, executions: [...run('m1'), ...run('m2'), ...run('m1', 2)] })).toMatch(
      /1 out/,
    );
  });
  it('finds what the broker keeps, and numbers that do not add up', () => {
    expect(complaints({ left: 2 })).toMatch(/still keeps 2/);
    expect(complaints({ drift: 2 })).toMatch(/cannot account for 2/);
    expect(complaints({ complaints: ['slow'] })).toMatch(/1 complaints: slow/);
  });
});
