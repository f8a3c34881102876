import type { Invocation } from '../contracts/invocation.ts';
import type { FunctionPolicy } from '../contracts/policy.ts';
import type { Call, FunctionEntry, FunctionSpec, Provider } from '../contracts/provider.ts';

let count = 0;

/** An invocation as a source would have made it, with what matters to the test set. */
export function makeInvocation(name: string, set: Partial<Invocation> = {}): Invocation {
  const id = `01J${String(++count).padStart(23, '0')}`;
  return {
    id,
    callId: `call-${count}`,
    function: name,
    mode: 'sync',
    method: 'POST',
    path: '',
    query: '',
    headers: {},
    body: null,
    source: 'test',
    acceptedAt: Date.now(),
    attempt: 1,
    timeoutMs: 20_000,
    priority: 4,
    orderKey: undefined,
    depth: 0,
    callbackUrl: undefined,
    replyTo: undefined,
    ...set,
  };
}

/** One attempt with a signal that aborts at its deadline, or with the signal given. */
export function makeCall(invocation: Invocation, signal?: AbortSignal): Call {
  const startedAt = performance.now();
  const deadline = startedAt + invocation.timeoutMs;
  const given = signal ?? AbortSignal.timeout(invocation.timeoutMs);
  return {
    invocation,
    startedAt,
    deadline,
    signal: given,
    watch: (watcher) => {
      const tell = (): void => watcher.aborted(given.reason as DOMException);
      if (given.aborted) tell();
      else given.addEventListener('abort', tell, { once: true });
    },
  };
}

/** The function as the catalog would hold it. */
export function makeEntry(provider: Provider, spec: FunctionSpec): FunctionEntry {
  return {
    name: spec.name,
    provider,
    providerName: spec.provider,
    spec,
    policy: {} as FunctionPolicy, // No provider looks at it.
    status: { name: spec.name, state: 'ready', replicas: 1, availableReplicas: 1, capacity: 1 },
  };
}
