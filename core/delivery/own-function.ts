import type { Outcome } from '../contracts/invocation.ts';
import type { Call, FunctionSpec, Provider } from '../contracts/provider.ts';

/** A function of Millrace's own, which is always there. */
export function ownSpec(name: string): FunctionSpec {
  return { name, provider: 'millrace', config: {}, env: {}, labels: {}, annotations: {} };
}

/** The provider of one. */
export function ownProvider(run: (call: Call) => Promise<Outcome>): Provider {
  return {
    start: async () => undefined,
    deploy: async () => undefined,
    remove: async () => undefined,
    invoke: (_entry, call) => run(call),
    stop: async () => undefined,
  };
}
