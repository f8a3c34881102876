import type { FunctionPolicy, RetryPolicy } from '../contracts/policy.ts';
import type { FunctionSpec, Provider } from '../contracts/provider.ts';
import type { CallbackSender } from './callback.ts';
import { bytesOf } from '../kit/body.ts';
import { callbackFunction } from './effects.ts';

/** Callbacks to slow receivers must not use up the gateway: so many at once. */
const concurrency = 32;

export const callbackSpec: FunctionSpec = {
  name: callbackFunction,
  provider: 'millrace',
  config: {},
  env: {},
  labels: {},
  annotations: {},
};

export function callbackPolicy(queue: string, retry: RetryPolicy, timeoutMs: number): FunctionPolicy {
  return {
    timeoutMs: timeoutMs + 1000,
    concurrency,
    waiting: 0,
    queue,
    retry,
    priority: 5,
    maxAgeMs: undefined,
    result: { store: true, ttlMs: 3_600_000 },
    onSuccess: [],
    onFailure: [],
  };
}

/** The provider of Millrace's own function: it POSTs outcomes to where their callers asked. */
export function callbackProvider(sender: CallbackSender): Provider {
  return {
    start: async () => undefined,
    deploy: async () => undefined,
    remove: async () => undefined,
    invoke: (_entry, { invocation, signal }) =>
      sender.send({
        url: invocation.path,
        headers: invocation.headers,
        body: bytesOf(invocation.body),
        signal,
      }),
    stop: async () => undefined,
  };
}
