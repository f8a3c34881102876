import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { describe, it } from 'vitest';
import type { Body, Headers, Outcome } from '../contracts/invocation.ts';
import type { FunctionEntry, FunctionStatus, Provider } from '../contracts/provider.ts';
import { makeCall, makeInvocation } from './calls.ts';

/**
 * What the functions of a bench do. A provider under test brings its own, in whatever way it runs functions:
 * - `echo`: answers with the request's bytes, and headers: its `content-type`, `x-method`, `x-path`, `x-query`, and
 *   `x-probe` as they came; status 200, or that of the request's `x-status`;
 * - `fail`: ends in an error of its own, without an answer (throws, exits with 1), and is not harmed by it;
 * - `slow`: answers `done` after as many ms as the body says;
 * - `crash`: takes down whatever it runs in, without an answer;
 * - `stream`: answers `chunk 0\n` … `chunk 4\n`, one each 100 ms, as they come;
 * - `flood`: answers without end, in pieces of 64 KiB, as fast as they are taken;
 * - `breaks`: answers `the first part\n` and, after 50 ms, breaks off.
 */
export const roles = ['echo', 'fail', 'slow', 'crash', 'stream', 'flood', 'breaks'] as const;
export type Role = (typeof roles)[number];

/**
 * What functions of some provider cannot say, so that cases which ask for it are skipped: `head`, a status and headers of
 * their own; `stream`, an answer as it comes.
 */
export type AnswerPart = 'head' | 'stream';

/** A provider to try, and the means to try it with. */
export interface ProviderBench {
  readonly lacks?: readonly AnswerPart[];
  /** Started, with no function. */
  readonly provider: Provider;
  /** Deploys a function of that role as `ROLE.test`, and gives its entry. */
  readonly deploy: (role: Role) => Promise<FunctionEntry>;
  /** Everything that the provider has reported, in order. */
  readonly statuses: readonly FunctionStatus[];
  readonly dispose: () => Promise<void>;
}

export interface ProviderCase {
  readonly name: string;
  readonly needs?: AnswerPart;
  readonly run: (bench: ProviderBench) => Promise<void>;
}

interface Sent {
  readonly method?: string;
  readonly path?: string;
  readonly query?: string;
  readonly headers?: Headers;
  readonly body?: Body;
  readonly timeoutMs?: number;
}

/** What every provider promises. */
export const providerCases: readonly ProviderCase[] = [
  {
    name: 'reports a deployed function as one that can run',
    run: async ({ deploy, statuses }) => {
      await deploy('echo');
      const status = statuses.findLast(({ name }) => name === 'echo.test');
      assert.equal(status?.state, 'ready');
      assert.ok(status.capacity >= 1, 'capacity is not told');
      assert.ok(status.availableReplicas >= 1);
    },
  },
  {
    name: 'runs a call and gives the answer with its bytes intact',
    run: async (bench) => {
      const bytes = Uint8Array.from({ length: 256 }, (_each, index) => index);
      const outcome = await send(bench, 'echo', { body: bytes, headers: { 'content-type': 'application/x-any' } });
      assert.equal(outcome.status, 200);
      assert.equal(outcome.failure, undefined);
      assert.equal(outcome.error, undefined);
      assert.equal(outcome.headers['content-type'], 'application/x-any');
      assert.ok(outcome.durationMs >= 0);
      assert.deepEqual(await bytesOf(outcome), Buffer.from(bytes));
    },
  },
  {
    name: 'sends exactly the bytes of a view of a larger buffer',
    run: async (bench) => {
      const body = Buffer.from('....inside....').subarray(4, 10);
      assert.equal((await bytesOf(await send(bench, 'echo', { body }))).toString(), 'inside');
      assert.equal(body.toString(), 'inside', 'the body was taken away from its owner');
    },
  },
  {
    name: 'passes method, path, query and headers on',
    needs: 'head',
    run: async (bench) => {
      const outcome = await send(bench, 'echo', {
        method: 'PUT',
        path: '/a/b%20c',
        query: '?x=1&y=%26',
        headers: { 'x-probe': 'kept' },
        body: Buffer.from('x'),
      });
      assert.equal(outcome.headers['x-method'], 'PUT');
      assert.equal(outcome.headers['x-path'], '/a/b%20c');
      assert.equal(outcome.headers['x-query'], '?x=1&y=%26');
      assert.equal(outcome.headers['x-probe'], 'kept');
    },
  },
  {
    name: 'runs a call without a body',
    run: async (bench) => {
      const outcome = await send(bench, 'echo', { method: 'GET', body: null });
      assert.equal(outcome.status, 200);
      assert.equal((await bytesOf(outcome)).length, 0);
    },
  },
  {
    name: "gives the function's own status, errors included, without calling it a failure",
    needs: 'head',
    run: async (bench) => {
      for (const status of [201, 404, 503]) {
        const outcome = await send(bench, 'echo', { headers: { 'x-status': String(status) }, body: Buffer.from('x') });
        assert.equal(outcome.status, status);
        assert.equal(outcome.failure, undefined);
        assert.equal(outcome.error, undefined);
      }
    },
  },
  {
    name: 'tells the error of a function that fails, and runs it again',
    run: async (bench) => {
      for (let round = 0; round < 3; round++) {
        const outcome = await send(bench, 'fail');
        assert.ok(outcome.status >= 500, `status ${outcome.status}`);
        assert.ok(outcome.error, 'no error is told');
      }
    },
  },
  {
    name: 'ends a call at its deadline, at once, and serves the next one',
    run: async (bench) => {
      const entry = await bench.deploy('slow');
      const startedAt = performance.now();
      const outcome = await bench.provider.invoke(
        entry,
        makeCall(makeInvocation('slow.test', { body: Buffer.from('60000'), timeoutMs: 400 })),
      );
      const tookMs = performance.now() - startedAt;
      assert.equal(outcome.status, 504);
      assert.equal(outcome.failure, 'timeout');
      assert.equal(outcome.error?.code, 'function.timeout');
      assert.ok(tookMs >= 390 && tookMs < 2000, `took ${tookMs} ms`);
      const next = await bench.provider.invoke(
        entry,
        makeCall(makeInvocation('slow.test', { body: Buffer.from('1') })),
      );
      assert.equal((await bytesOf(next)).toString(), 'done');
    },
  },
  {
    name: 'ends a call whose caller has gone, at once',
    run: async (bench) => {
      const entry = await bench.deploy('slow');
      const controller = new AbortController();
      const call = makeCall(makeInvocation('slow.test', { body: Buffer.from('60000') }), controller.signal);
      const running = bench.provider.invoke(entry, call);
      setTimeout(() => controller.abort(new DOMException('client-gone', 'AbortError')), 300);
      const outcome = await running;
      assert.equal(outcome.failure, 'cancelled');
      assert.ok(outcome.durationMs < 5000);
    },
  },
  {
    name: 'does not begin a call that was aborted before',
    run: async (bench) => {
      const entry = await bench.deploy('echo');
      const call = makeCall(makeInvocation('echo.test'), AbortSignal.abort(new DOMException('gone', 'AbortError')));
      assert.equal((await bench.provider.invoke(entry, call)).failure, 'cancelled');
    },
  },
  {
    name: 'tells a crash, and hurts neither the next call nor another function',
    run: async (bench) => {
      const echo = await bench.deploy('echo');
      const crash = await bench.deploy('crash');
      for (let round = 0; round < 3; round++) {
        const [crashed, echoed] = await Promise.all([
          bench.provider.invoke(crash, makeCall(makeInvocation('crash.test'))),
          bench.provider.invoke(echo, makeCall(makeInvocation('echo.test', { body: Buffer.from('alive') }))),
        ]);
        assert.equal(crashed.status, 502);
        assert.ok(crashed.failure === 'crash' || crashed.failure === 'connection', `failure ${crashed.failure}`);
        assert.equal((await bytesOf(echoed)).toString(), 'alive');
      }
    },
  },
  {
    name: 'gives each of many concurrent calls its own answer',
    run: async (bench) => {
      const entry = await bench.deploy('echo');
      await Promise.all(
        Array.from({ length: 300 }, async (_each, index) => {
          const text = `call ${index} ${'x'.repeat(index)}`;
          const invocation = makeInvocation('echo.test', {
            body: Buffer.from(text),
            headers: { 'x-probe': String(index) },
          });
          const outcome = await bench.provider.invoke(entry, makeCall(invocation));
          if (!bench.lacks?.includes('head')) assert.equal(outcome.headers['x-probe'], String(index));
          assert.equal((await bytesOf(outcome)).toString(), text);
        }),
      );
    },
  },
  {
    name: 'streams an answer as it comes',
    needs: 'stream',
    run: async (bench) => {
      const outcome = await send(bench, 'stream');
      assert.ok(outcome.body instanceof Readable, 'the answer does not stream');
      const startedAt = performance.now();
      let firstMs: number | undefined;
      let text = '';
      for await (const chunk of outcome.body) {
        firstMs ??= performance.now() - startedAt;
        text += String(chunk);
      }
      assert.equal(text, 'chunk 0\nchunk 1\nchunk 2\nchunk 3\nchunk 4\n');
      assert.ok((firstMs ?? 0) < performance.now() - startedAt - 150, 'everything came at once');
    },
  },
  {
    name: 'lets go of a streamed answer that nobody reads any more',
    needs: 'stream',
    run: async (bench) => {
      const entry = await bench.deploy('stream');
      for (let round = 0; round < 10; round++) {
        const outcome = await bench.provider.invoke(entry, makeCall(makeInvocation('stream.test')));
        assert.ok(outcome.body instanceof Readable);
        outcome.body.on('error', () => undefined).destroy();
      }
      const last = await bench.provider.invoke(entry, makeCall(makeInvocation('stream.test')));
      assert.equal((await bytesOf(last)).length, 40);
    },
  },
  {
    name: 'breaks a streamed answer off at the deadline',
    needs: 'stream',
    run: async (bench) => {
      const entry = await bench.deploy('stream');
      // Where it runs may have to start first, which is not to be counted.
      await bytesOf(await bench.provider.invoke(entry, makeCall(makeInvocation('stream.test'))));
      const call = makeCall(makeInvocation('stream.test', { timeoutMs: 250 }));
      const outcome = await bench.provider.invoke(entry, call);
      await assert.rejects(bytesOf(outcome));
    },
  },
  {
    name: 'breaks a streamed answer off where its function does',
    needs: 'stream',
    run: async (bench) => {
      const outcome = await send(bench, 'breaks');
      assert.equal(outcome.failure, undefined);
      await assert.rejects(bytesOf(outcome), 'the answer ended as if it were whole');
    },
  },
  {
    name: 'takes no more of a streamed answer than is read',
    needs: 'stream',
    run: async (bench) => {
      const { body } = await send(bench, 'flood');
      assert.ok(body instanceof Readable, 'the answer does not stream');
      const before = process.memoryUsage().rss;
      for (let read = 0; read < 4_000_000; read += (body.read() as Buffer | null)?.length ?? 0) {
        if (body.readableLength === 0) await new Promise((resolve) => body.once('readable', resolve));
      }
      await new Promise((resolve) => setTimeout(resolve, 500));
      assert.ok(body.readableLength <= 4_000_000, `${body.readableLength} bytes wait to be read`);
      assert.ok(process.memoryUsage().rss - before < 200_000_000, 'what nobody reads fills the memory');
      body.on('error', () => undefined).destroy();
    },
  },
  {
    name: 'is not harmed by many calls that are aborted at any time',
    run: async (bench) => {
      const entry = await bench.deploy('echo');
      const one = async (index: number): Promise<void> => {
        const text = `call ${index} ${'x'.repeat(index * 37)}`;
        const controller = new AbortController();
        const body = index % 3 === 0 ? pieces(Buffer.from(text), 1000) : Buffer.from(text);
        const call = makeCall(makeInvocation('echo.test', { body }), controller.signal);
        const running = bench.provider.invoke(entry, call);
        const aborts = index % 4 !== 0;
        if (aborts) setTimeout(() => controller.abort(new DOMException('gone', 'AbortError')), (index * 7) % 30);
        const outcome = await running;
        if (outcome.failure === 'cancelled' && aborts) return;
        assert.equal(outcome.failure, undefined);
        const answered = await bytesOf(outcome).catch((error: unknown) => {
          if (!aborts) throw error;
        });
        if (answered) assert.equal(answered.toString(), text, 'an answer of another call');
      };
      await Promise.all(Array.from({ length: 200 }, (_each, index) => one(index)));
      const last = await bench.provider.invoke(
        entry,
        makeCall(makeInvocation('echo.test', { body: Buffer.from('last') })),
      );
      assert.equal((await bytesOf(last)).toString(), 'last');
    },
  },
  {
    name: 'takes a body that streams, large or small',
    run: async (bench) => {
      const entry = await bench.deploy('echo');
      for (const size of [10, 100_000, 3_000_000]) {
        const body = Buffer.alloc(size, 'abcdefg');
        for (const headers of [{}, { 'content-length': String(size) }]) {
          const invocation = makeInvocation('echo.test', { body: pieces(body, 50_000), headers });
          const outcome = await bench.provider.invoke(entry, makeCall(invocation));
          assert.ok(body.equals(await bytesOf(outcome)), `${size} bytes came back different`);
        }
      }
    },
  },
  {
    name: 'survives a body that breaks off',
    run: async (bench) => {
      const entry = await bench.deploy('echo');
      for (const headers of [{}, { 'content-length': '1000' }]) {
        const body = new Readable({ read: () => undefined });
        body.push('the first part');
        setTimeout(() => body.destroy(new Error('the sender has gone')), 50);
        const outcome = await bench.provider.invoke(entry, makeCall(makeInvocation('echo.test', { body, headers })));
        // What has been answered already can only break off.
        if (outcome.status < 400) await assert.rejects(bytesOf(outcome), `status ${outcome.status}`);
      }
      const next = await bench.provider.invoke(
        entry,
        makeCall(makeInvocation('echo.test', { body: Buffer.from('x') })),
      );
      assert.equal(next.status, 200);
    },
  },
  {
    name: 'replaces a function, and forgets a removed one once its calls have ended',
    run: async (bench) => {
      const entry = await bench.deploy('slow');
      const running = bench.provider.invoke(entry, makeCall(makeInvocation('slow.test', { body: Buffer.from('600') })));
      await new Promise((resolve) => setTimeout(resolve, 300));
      await bench.deploy('slow');
      const again = bench.provider.invoke(entry, makeCall(makeInvocation('slow.test', { body: Buffer.from('600') })));
      await bench.provider.remove('slow.test');
      for (const outcome of await Promise.all([running, again])) {
        assert.equal((await bytesOf(outcome)).toString(), 'done');
      }
      const gone = await bench.provider.invoke(entry, makeCall(makeInvocation('slow.test')));
      assert.equal(gone.failure, 'missing');
      await bench.provider.remove('slow.test');
    },
  },
  {
    name: 'stops once what runs has ended, or at the deadline',
    run: async (bench) => {
      const entry = await bench.deploy('slow');
      const call = (body: string): Promise<Outcome> =>
        bench.provider.invoke(entry, makeCall(makeInvocation('slow.test', { body: Buffer.from(body) })));
      // Where it runs may have to start first, which is not to be counted.
      await Promise.all([call('50'), call('50')]);
      const short = call('200');
      const long = call('60000');
      await new Promise((resolve) => setTimeout(resolve, 100));
      const startedAt = performance.now();
      await bench.provider.stop(1500);
      const tookMs = performance.now() - startedAt;
      assert.ok(tookMs < 5000, `took ${tookMs} ms`);
      assert.equal((await bytesOf(await short)).toString(), 'done');
      assert.ok((await long).failure, 'a call outlived its provider');
    },
  },
];

/** Registers the suite with vitest: each case on a bench of its own. */
export function providerContract(name: string, makeBench: () => Promise<ProviderBench>): void {
  describe(`provider contract: ${name}`, () => {
    for (const { name, needs, run } of providerCases) {
      it(name, async ({ skip }) => {
        const bench = await makeBench();
        try {
          if (needs && bench.lacks?.includes(needs)) skip(`functions of this provider have no "${needs}"`);
          await run(bench);
        } finally {
          await bench.dispose();
        }
      });
    }
  });
}

async function send(bench: ProviderBench, role: Role, sent: Sent = {}): Promise<Outcome> {
  const entry = await bench.deploy(role);
  return bench.provider.invoke(entry, makeCall(makeInvocation(entry.name, sent)));
}

/** The whole answer. Rejects when it breaks off. */
export async function bytesOf({ body }: Outcome): Promise<Buffer> {
  if (body === null) return Buffer.alloc(0);
  if (typeof body === 'string') return Buffer.from(body);
  if (body instanceof Uint8Array) return Buffer.from(body);
  return Buffer.concat(await body.map((chunk: Uint8Array | string) => Buffer.from(chunk)).toArray());
}

function pieces(bytes: Buffer, size: number): Readable {
  const parts = Array.from({ length: Math.ceil(bytes.length / size) }, (_each, index) =>
    bytes.subarray(index * size, (index + 1) * size),
  );
  return Readable.from(parts, { objectMode: false });
}
