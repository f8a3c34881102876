import { expect, it } from 'vitest';
import type { FunctionPolicy } from '../../core/contracts/policy.ts';
import type { FunctionSpec, FunctionStatus, Provider } from '../../core/contracts/provider.ts';
import { Catalog } from '../../core/functions/catalog.ts';
import { manualClock } from '../../core/testing/index.ts';

const name = 'f.openfaas-fn';

/** How many attempts it lets run at once. */
function slotsOf(policy: Partial<FunctionPolicy>, status: Partial<FunctionStatus>): number {
  const catalog = new Catalog('openfaas-fn', manualClock());
  const spec = { name, provider: 'p' } as FunctionSpec;
  const { slots } = catalog.add(spec, { concurrency: 32, ...policy } as FunctionPolicy, {} as Provider);
  catalog.report({ name, state: 'ready', replicas: 3, availableReplicas: 3, capacity: 300, ...status });
  return slots.limit;
}

it.each([
  ['as many as it may', {}, {}, 32],
  ['no more than its provider can', {}, { capacity: 7 }, 7],
  ['so many for each replica that takes calls', { perReplica: 5 }, {}, 15],
  ['and no more than it may in all', { perReplica: 20 }, {}, 32],
  ['of a cold one, what its first replica will take', { perReplica: 5 }, { availableReplicas: 0, capacity: 0 }, 5],
  ['of a cold one without such a bound, as many as it may', {}, { availableReplicas: 0, capacity: 0 }, 32],
] as const)('a function runs %s', (_text, policy, status, expected) => {
  expect(slotsOf(policy, status)).toBe(expected);
});
