import type { RetryPolicy } from '../../core/contracts/policy.ts';

export const standardRetry: RetryPolicy = {
  attempts: 3,
  backoff: { kind: 'exponential', initialMs: 100, factor: 2, maxMs: 1000, jitter: 'full' },
  retryOn: ['5xx'],
  failOn: [],
  retryAfter: { honour: true, maxMs: 1000 },
};
