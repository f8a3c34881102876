import { expect, it } from 'vitest';
import { saw, seed, times } from '../support/promise.ts';
import { describeOnMachine, type Needs } from './machine/needs.ts';
import { traced } from './machine/trace.ts';
import { finished } from '../support/brokers/finished.ts';
import { crash, recorded } from './simulated-power-cut.ts';

const needs: Needs = {
  programs: ['strace'],
  packages: ['strace'],
  attempt: async () => {
    const [program = '', ...args] = traced('/dev/null');
    await finished(program, [...args, '/bin/true']);
  },
};

// What a real disk shows a few times (power-cut.test.ts), for thousands of moments, and where nothing can be mounted.
await describeOnMachine('the power of a simulated disk is cut', needs, () => {
  it('loses nothing that was answered with `X-Durability: disk` (P1)', { timeout: 3_600_000 }, async ({ task }) => {
    const crashes = times(200, 10_000);
    const events = await recorded(seed, times(300, 1000));
    const answers = events.filter(({ kind }) => kind === 'answer').length;
    expect(answers).toBeGreaterThanOrEqual(times(300, 1000));
    expect(crash(events, seed, crashes), `seed ${seed}`).toEqual({ losing: 0, mostLost: 0, damaged: [] });
    const result = `${answers.toLocaleString('en')} accepted, ${crashes.toLocaleString('en')} simulated crashes, 0 lost`;
    saw(task, { seed, result });
  });

  it('is caught when it commits without waiting for the disk', { timeout: 120_000 }, async () => {
    const events = await recorded(seed, 100, 'commit-without-flush');
    expect(crash(events, seed, 20).losing).toBeGreaterThan(0);
  });
});
