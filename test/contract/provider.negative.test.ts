import { Readable } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { Outcome } from '../../core/contracts/invocation.ts';
import type { Call, FunctionEntry, Provider } from '../../core/contracts/provider.ts';
import { providerCases } from '../../core/testing/index.ts';
import { httpRolesBench } from './http-provider-bench.ts';

type Invoke = Provider['invoke'];

/** Bugs that a provider may have, each with the case that must find it. */
const planted: Readonly<Record<string, { readonly finds: string; readonly plant: (invoke: Invoke) => Invoke }>> = {
  'an answer of another call': {
    finds: 'gives each of many concurrent calls its own answer',
    plant: (invoke) => {
      let last: Outcome | undefined;
      return async (entry, call) => {
        const outcome = await invoke(entry, call);
        const given = last ?? outcome;
        last = outcome;
        return given;
      };
    },
  },
  'an abort that is not heard': {
    finds: 'ends a call whose caller has gone, at once',
    plant: (invoke) => (entry, call) => invoke(entry, deaf(call)),
  },
  'a stream that ends well although it broke off': {
    finds: 'breaks a streamed answer off where its function does',
    plant: (invoke) => rebodied(invoke, (body) => Readable.from(whateverComes(body))),
  },
  'a stream that is read ahead of its reader': {
    finds: 'takes no more of a streamed answer than is read',
    plant: (invoke) =>
      rebodied(invoke, (body) => {
        const all = new Readable({ read: () => undefined });
        body.on('data', (chunk) => void all.push(chunk)).on('error', () => all.push(null));
        return all;
      }),
  },
};

/** The call, but for the news of its end. */
function deaf({ invocation, startedAt, deadline }: Call): Call {
  return { invocation, startedAt, deadline, signal: new AbortController().signal, watch: () => undefined };
}

function rebodied(invoke: Invoke, change: (body: Readable) => Readable): Invoke {
  return async (entry: FunctionEntry, call: Call) => {
    const outcome = await invoke(entry, call);
    return outcome.body instanceof Readable ? { ...outcome, body: change(outcome.body) } : outcome;
  };
}

async function* whateverComes(body: Readable): AsyncIterable<unknown> {
  try {
    yield* body;
  } catch {
    // That is the bug.
  }
}

/** Whether the case fails, or has not ended within `limitMs`. */
async function isFound(name: string, plant: (invoke: Invoke) => Invoke, limitMs = 20_000): Promise<boolean> {
  const found = providerCases.find((each) => each.name === name);
  if (!found) throw new Error(`there is no case "${name}"`);
  const bench = await httpRolesBench();
  const { provider } = bench;
  const invoke = plant((entry, call) => provider.invoke(entry, call));
  const faulty = Object.create(provider, { invoke: { value: invoke } }) as Provider;
  try {
    const running = found.run({ ...bench, provider: faulty }).then(() => false);
    return await Promise.race([running, wait(limitMs, true)]);
  } catch {
    return true;
  } finally {
    await bench.dispose();
  }
}

describe('the contract of a provider finds what is planted', () => {
  for (const [bug, { finds, plant }] of Object.entries(planted)) {
    it(`${bug}, and nothing without it`, async () => {
      expect(await isFound(finds, plant, 2000)).toBe(true);
      expect(await isFound(finds, (invoke) => invoke)).toBe(false);
    });
  }
});
