import { Readable } from 'node:stream';
import { z } from 'zod';
import { defineProvider } from '../../../core/contracts/definition.ts';
import type { Body, Headers, Outcome } from '../../../core/contracts/invocation.ts';
import type { Call, FunctionSpec, Provider } from '../../../core/contracts/provider.ts';

/** Bodies that `record` was given, in this process. */
export const ran: string[] = ((globalThis as { millraceTestRan?: string[] }).millraceTestRan ??= []);
/** The headers that came with them. */
export const ranHeaders: Headers[] = ((globalThis as { millraceTestHeaders?: Headers[] }).millraceTestHeaders ??= []);
/** What `scripted` answers next, in this process; 200 when there is nothing. */
export const script: { readonly status: number; readonly body?: string }[] = ((
  globalThis as { millraceTestScript?: { status: number; body?: string }[] }
).millraceTestScript ??= []);

/** What `narrow`, which runs two at once, has turned away in this process. */
export const narrow: { running: number; refused: number } = ((
  globalThis as { millraceTestNarrow?: { running: number; refused: number } }
).millraceTestNarrow ??= { running: 0, refused: 0 });

/** Runs of `held`, in this process, each of which lasts until it is released. */
export const holds: { readonly body: string; release(): void }[] = ((
  globalThis as { millraceTestHolds?: { body: string; release(): void }[] }
).millraceTestHolds ??= []);

const flood = Buffer.alloc(65_536);

const behaviours: Readonly<Record<string, (call: Call) => Promise<Outcome>>> = {
  echo: async ({ invocation }) => {
    return answer(200, await readAll(invocation.body), { 'content-type': 'application/octet-stream' });
  },
  show: async ({ invocation: { method, path, query, headers, body } }) => {
    const shown = {
      method,
      path,
      query,
      headers,
      body: Buffer.from(body instanceof Uint8Array ? body : '').toString(),
    };
    return answer(200, JSON.stringify(shown), { 'content-type': 'application/json' });
  },
  record: async ({ invocation: { body, headers } }) => {
    ranHeaders.push(headers);
    ran.push(Buffer.from(body instanceof Uint8Array ? body : '').toString());
    return answer(200, '');
  },
  /** Answers its body once all of it has come, and only then has run. */
  recites: async ({ invocation: { path, body } }) => {
    try {
      const whole = await readAll(body);
      ran.push(`${path} ${whole.toString('latin1')}`);
      return answer(200, whole, { 'content-type': 'application/octet-stream' });
    } catch {
      return answer(400, 'the body broke off');
    }
  },
  scripted: async ({ invocation: { body, headers } }) => {
    ranHeaders.push(headers);
    ran.push(Buffer.from(body instanceof Uint8Array ? body : '').toString());
    const { status, body: answered = '' } = script.shift() ?? { status: 200 };
    return answer(status, answered);
  },
  held: async ({ invocation: { body } }) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    holds.push({ body: Buffer.from(body instanceof Uint8Array ? body : '').toString(), release: resolve });
    await promise;
    return answer(200, '');
  },
  narrow: async () => {
    narrow.running++;
    try {
      if (narrow.running > 2) {
        narrow.refused++;
        return answer(429, 'no more than two');
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
      return answer(200, '');
    } finally {
      narrow.running--;
    }
  },
  /** Five bytes in two pieces, of whatever length the caller wants told. */
  streams: async ({ invocation: { headers } }) => ({
    ...answer(200, ''),
    headers: headers['x-length'] === undefined ? {} : { 'content-length': headers['x-length'] },
    body: Readable.from(['str', 'am'], { objectMode: false }),
  }),
  /** An answer that never ends, as fast as it is read. */
  floods: async () => ({
    ...answer(200, ''),
    body: new Readable({
      read() {
        this.push(flood);
      },
    }),
  }),
  fail: async () => answer(500, 'it failed'),
  slow: async () => {
    await new Promise((resolve) => setTimeout(resolve, 300));
    return answer(200, 'slow but sure');
  },
  brief: async () => {
    await new Promise((resolve) => setTimeout(resolve, 25));
    return answer(200, 'done');
  },
  /** A millisecond of the thread that the gateway runs on. */
  burns: async () => {
    const until = performance.now() + 1;
    while (performance.now() < until);
    return answer(200, 'done');
  },
  never: () => new Promise(() => undefined),
  heeds: async ({ signal, invocation: { body } }) => {
    ran.push(`begun ${Buffer.from(body instanceof Uint8Array ? body : '').toString()}`);
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    ran.push(String(signal.reason));
    return answer(200, '');
  },
  throws: () => Promise.reject(new Error('a bug in the provider')),
};

/** A provider of somebody else's, as a test brings it: functions that only behave. */
export default defineProvider({
  kind: 'inline-test',
  summary: 'Functions of the tests, on the main thread.',
  config: z.strictObject({}),
  functionConfig: z.strictObject({
    behaviour: z
      .enum([
        'echo',
        'show',
        'record',
        'recites',
        'scripted',
        'held',
        'narrow',
        'streams',
        'floods',
        'fail',
        'slow',
        'brief',
        'burns',
        'never',
        'heeds',
        'throws',
      ])
      .describe('What it does.'),
  }),
  examples: [{}],
  create: (_config, host): Provider => ({
    start: async () => undefined,
    deploy: async ({ name }: FunctionSpec) =>
      host.report({ name, state: 'ready', replicas: 1, availableReplicas: 1, capacity: 1000 }),
    remove: async () => undefined,
    invoke: (entry, call) => {
      const { behaviour } = entry.spec.config as { behaviour: string };
      return behaviours[behaviour]?.(call) ?? Promise.reject(new Error(`no behaviour ${behaviour}`));
    },
    stop: async () => undefined,
  }),
});

async function readAll(body: Body): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  if (body instanceof Uint8Array) chunks.push(body);
  else if (body !== null) for await (const chunk of body) chunks.push(chunk as Uint8Array);
  return Buffer.concat(chunks);
}

function answer(status: number, body: Uint8Array | string, headers: Outcome['headers'] = {}): Outcome {
  return { status, headers, body, durationMs: 0, failure: undefined, error: undefined };
}
