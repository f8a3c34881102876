import type { FunctionPolicy, RetryPolicy } from '../contracts/policy.ts';
import type { Provider } from '../contracts/provider.ts';
import type { CallbackSender } from './callback.ts';
import { bytesOf } from '../kit/body.ts';
import { callbackFunction } from './effects.ts';
import { ownProvider, ownSpec } from './own-function.ts';

/** Callbacks to slow receivers must not use up the gateway: so many at once. */
const concurrency = 32;

export const callbackSpec = ownSpec(callbackFunction);

export function callbackPolicy(queue: string, retry: RetryPolicy, timeoutMs: number): FunctionPolicy {
  return {
    auth: 'event-only',
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
    scale: undefined,
  };
}

/** The provider that POSTs outcomes to where their callers asked. */
export function callbackProvider(sender: CallbackSender): Provider {
  return ownProvider(({ invocation, signal }) =>
    sender.send({
      url: invocation.path,
      headers: invocation.headers,
      body: bytesOf(invocation.body),
      signal,
    }),
  );
}
