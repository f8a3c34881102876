import { strict as assert } from 'node:assert';
import { randomBytes } from 'node:crypto';
import type { Case, World } from './suite.ts';

const textOf = (value: string | readonly string[] | undefined): string =>
  value === undefined || typeof value === 'string' ? (value ?? '') : value.join();

async function accepted(world: World, asked: Parameters<World['call']>[0] = {}) {
  const answer = await world.call(asked);
  assert.equal(answer.status, 202, `accepted with ${answer.status} ${answer.text.slice(0, 200)}`);
  return answer;
}

/** What a gateway promises of asynchronous calls. Numbers in brackets: issues of OpenFaaS in which users asked for it. */
export const cases: readonly Case[] = [
  {
    name: 'a call is answered 202 with a call id, and runs',
    level: 'openfaas',
    run: async (world) => {
      const { headers } = await accepted(world, { body: 'hello' });
      const id = textOf(headers['x-call-id']);
      assert.notEqual(id, '', 'no X-Call-Id in the answer');
      await world.until('it ran', () => world.runs().length === 1);
      assert.equal(world.runs()[0]?.body.toString(), 'hello');
      assert.equal(textOf(world.runs()[0]?.headers['x-call-id']), id, 'the function saw another call id');
    },
  },
  {
    name: 'the call id of the caller is kept',
    level: 'openfaas',
    run: async (world) => {
      await accepted(world, { headers: { 'x-call-id': world.key } });
      await world.until('it ran', () => world.runs().length === 1);
      assert.equal(textOf(world.runs()[0]?.headers['x-call-id']), world.key);
    },
  },
  {
    name: 'path, query and headers reach the function',
    level: 'openfaas',
    run: async (world) => {
      await accepted(world, {
        path: '/deep/er?a=1&b=%20c',
        headers: { 'content-type': 'application/x-test', 'x-own': 'yes' },
      });
      await world.until('it ran', () => world.runs().length === 1);
      const [run] = world.runs();
      assert.equal(run?.path, '/deep/er?a=1&b=%20c');
      assert.equal(textOf(run?.headers['content-type']), 'application/x-test');
      assert.equal(textOf(run?.headers['x-own']), 'yes');
    },
  },
  {
    name: 'a body arrives byte for byte, empty or of 200 KiB of any bytes',
    level: 'openfaas',
    run: async (world) => {
      const body = randomBytes(200 * 1024);
      await accepted(world, { body, headers: { 'content-type': 'application/octet-stream' } });
      await world.until('it ran', () => world.runs().length === 1);
      assert.ok(world.runs()[0]?.body.equals(body), 'other bytes arrived');
      await accepted(world);
      await world.until('the empty one ran', () => world.runs().length === 2);
      assert.equal(world.runs()[1]?.body.length, 0);
    },
  },
  {
    name: 'other methods than POST are 405',
    level: 'openfaas',
    run: async (world) => {
      for (const method of ['GET', 'PUT', 'PATCH']) assert.equal((await world.call({ method })).status, 405, method);
    },
  },
  {
    name: 'a callback brings the answer, with what OpenFaaS tells about it',
    level: 'openfaas',
    run: async (world) => {
      world.answer(() => ({ status: 201, headers: { 'x-answer': 'mine' }, body: 'the answer' }));
      const { headers } = await accepted(world, { headers: { 'x-callback-url': world.callbackUrl } });
      await world.until('the callback came', () => world.callbacks().length > 0);
      const [callback] = world.callbacks();
      assert.equal(callback?.method, 'POST');
      assert.equal(callback.body.toString(), 'the answer');
      assert.equal(textOf(callback.headers['x-call-id']), textOf(headers['x-call-id']));
      assert.equal(textOf(callback.headers['x-function-status']), '201');
      assert.equal(textOf(callback.headers['x-answer']), 'mine');
      assert.match(textOf(callback.headers['x-function-name']), /\S/);
      assert.match(textOf(callback.headers['x-duration-seconds']), /^\d+(\.\d+)?$/);
    },
  },
  {
    name: 'a malformed callback URL is 400',
    level: 'openfaas',
    run: async (world) => {
      const { status } = await world.call({ headers: { 'x-callback-url': ':// nonsense' } });
      assert.equal(status, 400);
    },
  },
  {
    name: 'an answer of 503 is tried again until it succeeds',
    level: 'openfaas',
    run: async (world) => {
      world.answer((_run, count) => ({ status: count < 3 ? 503 : 200, body: String(count) }));
      await accepted(world, { body: 'again', headers: { 'x-callback-url': world.callbackUrl } });
      await world.until('the last callback came', () =>
        world.callbacks().some(({ headers }) => textOf(headers['x-function-status']) === '200'),
      );
      assert.equal(world.runs().length, 3);
      for (const run of world.runs()) assert.equal(run.body.toString(), 'again', 'an attempt had another body');
      await world.never('it ran after it had succeeded', () => world.runs().length > 3);
    },
  },
  {
    name: 'a function that answers 429 with Retry-After is not called before',
    level: 'openfaas',
    run: async (world) => {
      world.answer((_run, count) => (count === 1 ? { status: 429, headers: { 'retry-after': '2' } } : {}));
      await accepted(world);
      await world.until('it ran twice', () => world.runs().length === 2);
      const [first, second] = world.runs();
      const waited = (second?.at ?? 0) - (first?.at ?? 0);
      assert.ok(waited >= 1950, `called again after ${Math.round(waited)} ms`);
    },
  },
  {
    name: 'a call that waits can be cancelled by its call id, and never runs',
    level: 'openfaas',
    run: async (world) => {
      // Refused once, and told to come back later: it waits then.
      world.answer(() => ({ status: 429, headers: { 'retry-after': '3' } }));
      const { headers } = await accepted(world);
      await world.until('it ran once', () => world.runs().length === 1);
      const { status } = await world.send('DELETE', `/async-function/${textOf(headers['x-call-id'])}`);
      assert.equal(status, 202);
      await world.never('it ran again', () => world.runs().length > 1);
    },
  },
  {
    name: 'each of 200 calls runs, and each callback comes',
    level: 'openfaas',
    run: async (world) => {
      const bodies = Array.from({ length: 200 }, (_, index) => `call ${index}`);
      await Promise.all(
        bodies.map((body) => accepted(world, { body, headers: { 'x-callback-url': world.callbackUrl } })),
      );
      const distinct = (all: readonly { readonly body: Buffer }[]) => new Set(all.map(({ body }) => body.toString()));
      await world.until('all callbacks came', () => distinct(world.callbacks()).size === 200);
      assert.deepEqual([...distinct(world.runs())].toSorted(), bodies.toSorted());
      assert.deepEqual([...distinct(world.callbacks())].toSorted(), bodies.toSorted());
    },
  },
  {
    name: 'a function that does not exist is 404 at once (faas#947, #1298)',
    level: 'reliable',
    run: async (world) => {
      assert.equal((await world.call({ name: `no-such-${world.key.slice(0, 8)}` })).status, 404);
    },
  },
  {
    name: 'a body that is too large is 413, not lost later (faas#1794)',
    level: 'reliable',
    run: async (world) => {
      assert.equal(await world.announce(64 * 1024 * 1024), 413);
    },
  },
  {
    name: 'an answer of 500 is tried again (nats-queue-worker#80)',
    level: 'reliable',
    run: async (world) => {
      world.answer((_run, count) => ({ status: count < 2 ? 500 : 200 }));
      await accepted(world);
      await world.until('it ran twice', () => world.runs().length === 2);
    },
  },
  {
    name: 'an answer of 400 is not tried again, and its callback comes',
    level: 'reliable',
    run: async (world) => {
      world.answer(() => ({ status: 400, body: 'no' }));
      await accepted(world, { headers: { 'x-callback-url': world.callbackUrl } });
      await world.until('the callback came', () => world.callbacks().length === 1);
      assert.equal(textOf(world.callbacks()[0]?.headers['x-function-status']), '400');
      await world.never('it ran again', () => world.runs().length > 1);
    },
  },
  {
    name: 'a call that succeeds runs once, and its callback comes once (faas#1108)',
    level: 'reliable',
    run: async (world) => {
      world.answer(() => ({ delayMs: 1000 }));
      await accepted(world, { headers: { 'x-callback-url': world.callbackUrl } });
      await world.until('the callback came', () => world.callbacks().length === 1);
      await world.never('it ran, or was called back, again', () => world.runs().length + world.callbacks().length > 2);
    },
  },
  {
    name: 'a callback that is not taken is sent again, with its body',
    level: 'reliable',
    run: async (world) => {
      world.answer(() => ({ body: 'the answer' }));
      world.answerCallback((_callback, count) => ({ status: count === 1 ? 503 : 204 }));
      await accepted(world, { headers: { 'x-callback-url': world.callbackUrl } });
      await world.until('it came twice', () => world.callbacks().length === 2);
      assert.equal(world.callbacks()[1]?.body.toString(), 'the answer');
      assert.equal(world.runs().length, 1, 'the function ran again because of its callback');
    },
  },
  {
    name: 'a callback to the metadata address of a cloud is refused',
    level: 'reliable',
    run: async (world) => {
      const { status } = await world.call({ headers: { 'x-callback-url': 'http://169.254.169.254/latest/' } });
      assert.equal(status, 400);
    },
  },
  {
    name: 'calls of one function run beside each other (faas#1272, #620)',
    level: 'reliable',
    run: async (world) => {
      world.answer(() => ({ delayMs: 1500 }));
      await Promise.all([1, 2, 3, 4].map(() => accepted(world)));
      await world.until('all have begun', () => world.runs().length === 4);
      assert.ok(world.mostAtOnce() > 1, 'one after another');
    },
  },
  {
    name: 'a slow function does not hold up another one (faas#1177, #1330)',
    level: 'reliable',
    run: async (world) => {
      const slow = `${world.key}-slow`;
      world.answer(() => ({ delayMs: 3000 }), slow);
      await Promise.all(Array.from({ length: 40 }, () => accepted(world, { key: slow })));
      await world.until('the slow ones have begun', () => world.runs(slow).length > 0);
      await accepted(world, { name: world.other });
      await world.until('the quick one ran', () => world.runs().length === 1);
      const began = world.runs(slow).length;
      world.answer(() => ({}), slow);
      await world.until('the slow ones ran', () => world.runs(slow).length === 40);
      // It would have been the last one of a shared queue.
      assert.ok(began < 40, 'it ran after all of the slow ones');
    },
  },
  {
    name: 'the state and the answer of a call can be fetched (faas#1661, #983, #1277)',
    level: 'extended',
    run: async (world) => {
      world.answer(() => ({ status: 200, headers: { 'content-type': 'text/x-answer' }, body: 'the answer' }));
      const { headers } = await accepted(world);
      const id = textOf(headers['x-invocation-id']);
      const result = await world.send('GET', `/invocations/${id}/result?wait=30s`);
      assert.equal(result.status, 200);
      assert.equal(result.text, 'the answer');
      assert.equal(textOf(result.headers['content-type']), 'text/x-answer');
      const state = JSON.parse((await world.send('GET', `/invocations/${id}`)).text) as { state: string };
      assert.equal(state.state, 'succeeded');
    },
  },
  {
    name: 'two calls with one Idempotency-Key run once',
    level: 'extended',
    run: async (world) => {
      await Promise.all([1, 2, 3].map(() => accepted(world, { headers: { 'idempotency-key': world.key } })));
      await world.until('it ran', () => world.runs().length === 1);
      await world.never('it ran again', () => world.runs().length > 1);
    },
  },
  {
    name: 'calls with one X-Order-Key run one after another in their order, retries included',
    level: 'extended',
    run: async (world) => {
      const failed = new Set<string>();
      world.answer(({ body }) => {
        const first = !failed.has(body.toString());
        failed.add(body.toString());
        return { status: first && body.toString() === '1' ? 503 : 200, delayMs: 20 };
      });
      for (const body of ['0', '1', '2', '3', '4'])
        await accepted(world, { body, headers: { 'x-order-key': world.key } });
      await world.until('all ran', () => world.runs().length === 6);
      assert.deepEqual(
        world.runs().map(({ body }) => body.toString()),
        ['0', '1', '1', '2', '3', '4'],
      );
      assert.equal(world.mostAtOnce(), 1);
    },
  },
  {
    name: 'a call with X-Delay does not run before',
    level: 'extended',
    run: async (world) => {
      const began = performance.now();
      await accepted(world, { headers: { 'x-delay': '2s' } });
      await world.until('it ran', () => world.runs().length === 1);
      assert.ok((world.runs()[0]?.at ?? 0) - began >= 1950, 'too early');
    },
  },
  {
    name: 'what failed for good is a dead letter with its body, and runs when it is replayed (faas#1394, nats-queue-worker#81)',
    level: 'extended',
    run: async (world) => {
      world.answer((_run, count) => ({ status: count === 1 ? 400 : 200 }));
      const { headers } = await accepted(world, { body: 'precious' });
      const id = textOf(headers['x-invocation-id']);
      await world.send('GET', `/invocations/${id}/result?wait=30s`);
      const body = await world.send('GET', `/system/dead-letters/${id}/body`);
      assert.equal(body.text, 'precious');
      const json = { 'content-type': 'application/json' };
      const replay = await world.send('POST', `/system/dead-letters/${id}/replay`, json, '{}');
      assert.ok(replay.status < 300, `replay answered ${replay.status}`);
      await world.until('it ran again', () => world.runs().length === 2);
      assert.equal(world.runs()[1]?.body.toString(), 'precious');
    },
  },
];
