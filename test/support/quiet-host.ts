import { pino } from 'pino';
import type { Clock } from '../../core/contracts/clock.ts';
import type { PluginHost } from '../../core/contracts/definition.ts';

/** A host of one plugin instance that logs nothing and counts nothing; failures are collected. */
export function quietHost(clock: Clock, baseFolder = '/'): PluginHost & { readonly failures: unknown[] } {
  const failures: unknown[] = [];
  return {
    name: 'test',
    logger: pino({ level: 'silent' }),
    clock,
    metrics: { counter: () => ({ inc: () => {} }), gauge: () => ({ set: () => {} }) },
    signal: new AbortController().signal,
    baseFolder,
    fail: (error) => failures.push(error),
    failures,
  };
}

/** The wall clock, moved on by hand. */
export function movableClock(): Clock & { readonly advance: (ms: number) => void } {
  const start = Date.UTC(2026, 0, 1);
  let passed = 0;
  return {
    now: () => start + passed,
    monotonic: () => passed,
    advance: (ms) => {
      passed += ms;
    },
  };
}
