import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { FailureClass, Outcome } from '../../core/contracts/invocation.ts';
import type { RetryPolicy } from '../../core/contracts/policy.ts';
import { backoffMs, parseRetryAfter, retryDecision } from '../../core/delivery/retry.ts';
import { seed } from '../support/promise.ts';

const now = Date.UTC(2026, 0, 1, 12);

const standard: RetryPolicy = {
  attempts: 3,
  backoff: { kind: 'exponential', initialMs: 1000, factor: 2, maxMs: 300_000, jitter: 'none' },
  retryOn: ['timeout', 'connection', 'crash', '408', '409', '425', '429', '5xx'],
  failOn: ['4xx'],
  retryAfter: { honour: true, maxMs: 60_000 },
};

function outcome(status: number, failure?: FailureClass, more: Partial<Outcome> = {}): Outcome {
  return { status, headers: {}, body: null, durationMs: 1, failure, error: undefined, ...more };
}

function decide(policy: Partial<RetryPolicy>, result: Outcome, attempt = 1): string {
  const decision = retryDecision({ ...standard, ...policy }, result, attempt, () => 0.5, { now: () => now });
  if (decision.kind === 'retry') return `retry ${decision.delayMs}`;
  return decision.kind === 'dead' ? `dead ${decision.reason}` : 'done';
}

describe('the retry table', () => {
  const rows: [name: string, policy: Partial<RetryPolicy>, result: Outcome, attempt: number, expected: string][] = [
    ['an answer', {}, outcome(200), 1, 'done'],
    ['a redirect is an answer', {}, outcome(302), 1, 'done'],
    ['a 2xx made by the platform is not success', {}, outcome(200, 'timeout'), 1, 'retry 1000'],
    ['5xx by class', {}, outcome(503), 1, 'retry 1000'],
    ['5xx, second attempt', {}, outcome(500), 2, 'retry 2000'],
    ['attempts used up', {}, outcome(500), 3, 'dead max_attempts'],
    ['more attempts than allowed', {}, outcome(500), 9, 'dead max_attempts'],
    ['4xx by class', {}, outcome(404), 1, 'dead permanent'],
    ['an exact status beats a class', {}, outcome(409), 1, 'retry 1000'],
    ['exactly failed beats retried class', { failOn: ['503'] }, outcome(503), 1, 'dead permanent'],
    ['exactly retried beats failed class', { failOn: ['5xx'], retryOn: ['503'] }, outcome(503), 1, 'retry 1000'],
    ['failOn wins among exact', { failOn: ['503'], retryOn: ['503'] }, outcome(503), 1, 'dead permanent'],
    ['failOn wins among classes', { failOn: ['5xx'], retryOn: ['5xx'] }, outcome(503), 1, 'dead permanent'],
    ['unlisted status', { failOn: [], retryOn: [] }, outcome(500), 1, 'dead permanent'],
    ['permanent on the last attempt is permanent', {}, outcome(404), 3, 'dead permanent'],
    ['timeout', {}, outcome(504, 'timeout'), 1, 'retry 1000'],
    ['timeout used up', {}, outcome(504, 'timeout'), 3, 'dead max_attempts'],
    ['timeout in failOn', { failOn: ['timeout'] }, outcome(504, 'timeout'), 1, 'dead permanent'],
    ['timeout beats failed class', { failOn: ['5xx'] }, outcome(504, 'timeout'), 1, 'retry 1000'],
    ['timeout by its status class', { retryOn: ['5xx'] }, outcome(504, 'timeout'), 1, 'retry 1000'],
    ['unlisted timeout', { retryOn: [], failOn: [] }, outcome(504, 'timeout'), 1, 'dead permanent'],
    ['connection', {}, outcome(502, 'connection'), 1, 'retry 1000'],
    ['crash', {}, outcome(502, 'crash'), 1, 'retry 1000'],
    ['crash used up', {}, outcome(502, 'crash'), 3, 'dead crashed'],
    ['crash in failOn', { failOn: ['crash'] }, outcome(502, 'crash'), 1, 'dead crashed'],
    ['missing is retried though 4xx fails', {}, outcome(404, 'missing'), 1, 'retry 1000'],
    ['missing used up', {}, outcome(404, 'missing'), 3, 'dead unroutable'],
    ['missing in failOn', { failOn: ['missing'] }, outcome(404, 'missing'), 1, 'dead unroutable'],
    ['overload', {}, outcome(429, 'overload'), 1, 'retry 1000'],
    ['overload in failOn', { failOn: ['overload'] }, outcome(429, 'overload'), 1, 'dead permanent'],
    ['loop at once', { retryOn: ['loop', '5xx'] }, outcome(508, 'loop'), 1, 'dead loop'],
    ['refused at once', { retryOn: ['refused', '4xx'] }, outcome(400, 'refused'), 1, 'dead permanent'],
    ['internal by its status', {}, outcome(500, 'internal'), 1, 'retry 1000'],
    ['Retry-After in seconds', {}, outcome(429, undefined, { headers: { 'retry-after': '7' } }), 1, 'retry 7000'],
    ['Retry-After is a minimum', {}, outcome(503, undefined, { headers: { 'retry-after': '1' } }), 2, 'retry 2000'],
    ['Retry-After is capped', {}, outcome(503, undefined, { headers: { 'retry-after': '9999' } }), 1, 'retry 60000'],
    [
      'Retry-After of a 500 is not one',
      {},
      outcome(500, undefined, { headers: { 'retry-after': '7' } }),
      1,
      'retry 1000',
    ],
    ['the first Retry-After', {}, outcome(429, undefined, { headers: { 'retry-after': ['3', '9'] } }), 1, 'retry 3000'],
    [
      'Retry-After as a date',
      {},
      outcome(503, undefined, { headers: { 'retry-after': 'Thu, 01 Jan 2026 12:00:09 GMT' } }),
      1,
      'retry 9000',
    ],
    [
      'Retry-After not honoured',
      { retryAfter: { honour: false, maxMs: 60_000 } },
      outcome(429, undefined, { headers: { 'retry-after': '7' } }),
      1,
      'retry 1000',
    ],
    [
      'an answer of a watchdog is retried though 4xx fails',
      {},
      outcome(404, undefined, { headers: { 'x-openfaas-internal': 'of-watchdog' } }),
      1,
      'retry 1000',
    ],
    [
      'an answer of a watchdog whose status nobody names',
      { retryOn: [], failOn: [] },
      outcome(500, undefined, { headers: { 'x-openfaas-internal': 'faas-middleware' } }),
      1,
      'retry 1000',
    ],
    [
      'an answer of a watchdog whose status is exactly failed',
      { failOn: ['429'] },
      outcome(429, undefined, { headers: { 'x-openfaas-internal': 'faas-middleware' } }),
      1,
      'dead permanent',
    ],
    [
      'a good answer is done whoever made it',
      {},
      outcome(200, undefined, { headers: { 'x-openfaas-internal': 'proxy' } }),
      1,
      'done',
    ],
    ['the platform says when', {}, outcome(503, 'overload', { retryAfterSeconds: 5 }), 1, 'retry 5000'],
  ];
  it.each(rows)('%s', (_name, policy, result, attempt, expected) => {
    expect(decide(policy, result, attempt)).toBe(expected);
  });
});

describe('backoff', () => {
  const backoff = fc.record({
    kind: fc.constantFrom('exponential' as const, 'linear' as const, 'fixed' as const),
    initialMs: fc.nat(100_000),
    factor: fc.double({ min: 1, max: 10, noNaN: true }),
    maxMs: fc.nat(10_000_000),
    jitter: fc.constantFrom('full' as const, 'none' as const),
  });

  it('stays between nothing and its cap', () => {
    fc.assert(
      fc.property(
        backoff,
        fc.integer({ min: 1, max: 5000 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (by, attempt, r) => {
          const delay = backoffMs(by, attempt, () => r);
          expect(delay).toBeGreaterThanOrEqual(0);
          expect(delay).toBeLessThanOrEqual(by.maxMs);
        },
      ),
      { seed },
    );
  });

  it('never gets shorter from one attempt to the next, jitter aside', () => {
    fc.assert(
      fc.property(backoff, fc.integer({ min: 1, max: 2000 }), (by, attempt) => {
        const plain = { ...by, jitter: 'none' as const };
        expect(backoffMs(plain, attempt + 1)).toBeGreaterThanOrEqual(backoffMs(plain, attempt));
      }),
      { seed },
    );
  });

  it.each([
    ['exponential', [100, 200, 400, 800, 1000, 1000]],
    ['linear', [100, 200, 300, 400, 500, 600]],
    ['fixed', [100, 100, 100, 100, 100, 100]],
  ] as const)('%s', (kind, delays) => {
    const by = { kind, initialMs: 100, factor: 2, maxMs: 1000, jitter: 'none' } as const;
    expect([1, 2, 3, 4, 5, 6].map((attempt) => backoffMs(by, attempt))).toEqual(delays);
  });
});

describe('Retry-After', () => {
  it.each([
    ['0', 0],
    [' 120 ', 120_000],
    ['Thu, 01 Jan 2026 12:00:30 GMT', 30_000],
    ['Thursday, 01-Jan-26 12:00:30 GMT', 30_000],
    ['Thu Jan  1 12:00:30 2026', 30_000],
    ['Thu, 01 Jan 2026 11:00:00 GMT', 0],
    ['', undefined],
    ['-1', undefined],
    ['1.5', undefined],
    ['soon', undefined],
    ['5 apples 7', undefined],
    ['Thu, 99 Foo 2026 12:00:30 GMT', undefined],
  ])('%j', (text, expected) => {
    expect(parseRetryAfter(text, now)).toBe(expected);
  });

  it('is read without an error whatever it says', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.string({ unit: 'binary' })), (text) => {
        const ms = parseRetryAfter(text, now);
        expect(ms === undefined || ms >= 0).toBe(true);
      }),
      { seed },
    );
  });
});
