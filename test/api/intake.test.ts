import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { request } from 'undici';
import { afterEach, describe, expect, it } from 'vitest';
import { inlinePlugin, testGateway, type TestGateway } from '../support/gateway.ts';
import { ran, ranHeaders, script } from '../support/plugins/inline.ts';

const plugin = join(import.meta.dirname, '../support/plugins/messages.ts');
let running: TestGateway | undefined;
afterEach(async () => {
  await running?.[Symbol.asyncDispose]();
  running = undefined;
});

async function start(connector: string, initial = '20ms'): Promise<TestGateway> {
  for (const each of [ran, ranHeaders, script]) each.length = 0;
  running = await testGateway(
    `
gateway: { listen: { port: 0 }, management: { port: 0 } }
policies: { retry: { quick: { attempts: 3, backoff: { kind: fixed, initial: ${initial}, jitter: none }, retryOn: ["5xx"] } } }
functions:
  a: { behaviour: scripted, annotations: { topic: "orders.*, returns.>" }, invoke: { retry: quick } }
  b: { behaviour: record, annotations: { topic: orders.created }, invoke: { retry: quick } }
  slow: { behaviour: slow }
connectors: { bus: { kind: messages-test, ${connector} } }
`,
    {},
    [inlinePlugin, plugin],
  );
  return running;
}

type Said = Record<string, unknown>;
async function give(message: Record<string, unknown> & { body: unknown }): Promise<Said> {
  const body = typeof message.body === 'string' ? message.body : JSON.stringify(message.body);
  const headers = { 'content-type': 'application/json' };
  const answer = await request(`${running?.url}/messages`, {
    method: 'POST',
    headers,
    body: JSON.stringify({ ...message, body }),
  });
  return (await answer.body.json()) as Said;
}
const get = async (path: string): Promise<Said> =>
  (await (await request(`${running?.url}${path}`)).body.json()) as Said;
const letters = async (): Promise<Said[]> => (await get('/system/dead-letters'))['items'] as Said[];
const letterBody = async (id: unknown): Promise<string> =>
  (await request(`${running?.url}/system/dead-letters/${String(id)}/body`)).body.text();
async function metric(name: string): Promise<number> {
  const text = await (await request(`${running?.gateway.managementUrl}/metrics`)).body.text();
  return Number(new RegExp(`millrace_messages_test_${name}\\{[^}]*\\} (\\d+)`).exec(text)?.[1] ?? 0);
}

describe('which functions a message runs', () => {
  it('may be several, each by its own queue, and it is acknowledged when all have it', async () => {
    await start('functions: [a, b]');
    expect(await give({ body: 'x' })).toMatchObject({ kind: 'accepted' });
    await expect.poll(() => ran).toEqual(['x', 'x']);
    // Given once more because its acknowledgement got lost, it runs none of them again.
    expect(await give({ body: 'x', id: '1' })).toMatchObject({ kind: 'accepted' });
    await delay(50);
    expect(ran).toEqual(['x', 'x']);
  });

  it('may be said by their annotations, with the wildcards of the broker', async () => {
    await start('annotation: topic');
    expect(await give({ topic: 'orders.created', body: 'both' })).toMatchObject({ kind: 'accepted' });
    await expect.poll(() => ran).toEqual(['both', 'both']);
    expect(await give({ topic: 'returns.a.b', body: 'one' })).toEqual({ kind: 'done' });
    expect(ran).toEqual(['both', 'both', 'one']);
    expect(await give({ topic: 'others', body: 'none' })).toEqual({ kind: 'done' });
    expect(ran).toHaveLength(3);
    expect(await metric('unrouted_total')).toBe(1);
  });

  it('cannot be said twice, and not left open', async () => {
    await expect(start('function: a, functions: [b]')).rejects.toThrow('one of function, functions, not several');
    await expect(start('credit: 3')).rejects.toThrow('one of function, functions and annotation is required');
    await expect(start('functions: [a, bb]')).rejects.toThrow('no function "bb"');
  });
});

describe('filters', () => {
  it('let through what fits all of them; the rest is acknowledged and counted', async () => {
    await start(
      `function: a, filters: [
        { any: [{ exact: { type: order.created } }, { prefix: { headers.x-kind: "ord" } }] },
        { not: { suffix: { data.customer.country: "-test" } } }, { exact: { data.open: true } }]`,
    );
    const event = { 'ce-specversion': '1.0', 'ce-id': '1', 'ce-source': '/s', 'ce-type': 'order.created' };
    const open = { open: true, customer: { country: 'DE' } };
    await give({ body: open, headers: event });
    await give({ body: { ...open, n: 2 }, headers: { 'X-Kind': 'order' } });
    expect(ran).toHaveLength(2);
    await give({ body: open, headers: { ...event, 'ce-type': 'order.closed' } });
    await give({ body: { open: true, customer: { country: 'DE-test' } }, headers: event });
    await give({ body: { open: false }, headers: event });
    await give({ body: 'no JSON', headers: event });
    expect(ran).toHaveLength(2);
    expect(await metric('filtered_total')).toBe(4);
  });

  it('see into structured events', async () => {
    await start('function: a, filters: [{ exact: { type: t1, data.a: 1 } }]');
    const headers = { 'content-type': 'application/cloudevents+json' };
    const event = { specversion: '1.0', id: '1', source: '/s', type: 't1', data: { a: 1 } };
    await give({ body: event, headers });
    await give({ body: { ...event, type: 't2' }, headers });
    expect(ran.map((body) => JSON.parse(body) as unknown)).toEqual([event]);
  });
});

describe('map', () => {
  it('makes the body', async () => {
    await start(`function: a, map: '{ "id": data.cust, "from": topic, "sum": $sum(data.lines.n) }'`);
    await give({ body: { cust: 'c9', lines: [{ n: 1 }, { n: 2 }] }, topic: 'shop.eu' });
    expect(JSON.parse(ran[0] ?? '')).toEqual({ id: 'c9', from: 'shop.eu', sum: 3 });
    expect(ranHeaders[0]).toMatchObject({ 'content-type': 'application/json', 'ce-subject': 'shop.eu' });
  });

  it.each([
    ['fails', '$number(data.n)', 'Unable to cast'],
    ['gives nothing', 'data.nothing', 'gave nothing'],
    ['never ends', '($f := function($n) { $f($n + 1) }; $f(0))', 'expression failed'],
  ])('leaves the message as it was among the dead letters when it %s', async (_what, map, why) => {
    await start(`function: a, map: '${map}'`);
    expect(await give({ body: '{"n":"no number"}' })).toEqual({ kind: 'dead', reason: 'permanent' });
    const [letter] = await letters();
    expect(letter?.['errors']).toMatchObject([{ code: 'message.unmapped', message: expect.stringContaining(why) }]);
    expect(await letterBody(letter?.['id'])).toBe('{"n":"no number"}');
    expect(ran).toEqual([]);
  });

  it('is compiled with the configuration', async () => {
    await expect(start(`function: a, map: '{ "id": '`)).rejects.toThrow('is no JSONata');
  });
});

describe('maxAge', () => {
  it('sends what is too old to the dead letters', async () => {
    await start('function: a, maxAge: 1m');
    expect(await give({ body: 'old', ageMs: 61_000 })).toEqual({ kind: 'dead', reason: 'expired' });
    expect(await give({ body: 'young', ageMs: 30_000 })).toEqual({ kind: 'done' });
    expect(ran).toEqual(['young']);
    expect(await letterBody((await letters())[0]?.['id'])).toBe('old');
  });
});

describe('order', () => {
  it('holds the next ones of a key until the one before has ended, its retries included', async () => {
    await start('function: a, order: { key: data.k }');
    script.push({ status: 503 }, { status: 503 });
    const first = give({ body: { k: 1, n: 1 } });
    await expect.poll(() => ran.length).toBeGreaterThan(0);
    const others = [give({ body: { k: 1, n: 2 } }), give({ body: { k: 1, n: 3 } })];
    expect(await Promise.all([first, ...others])).toEqual([{ kind: 'done' }, { kind: 'done' }, { kind: 'done' }]);
    expect(ran.map((body) => (JSON.parse(body) as { n: number }).n)).toEqual([1, 1, 1, 2, 3]);
  });

  it('may be that of the source', async () => {
    await start('function: a');
    script.push({ status: 500 }, { status: 500 });
    const first = give({ orderKey: 'k', body: '1' });
    await expect.poll(() => ran.length).toBeGreaterThan(0);
    expect(await Promise.all([first, give({ orderKey: 'k', body: '2' })])).toEqual([
      { kind: 'done' },
      { kind: 'done' },
    ]);
    expect(ran).toEqual(['1', '1', '1', '2']);
  });

  it('goes on behind what ends among the dead letters', async () => {
    await start('function: a, order: { key: key }');
    script.push(...Array.from({ length: 3 }, () => ({ status: 500 })));
    const [first, second] = await Promise.all([give({ body: 'bad', key: 'k' }), give({ body: 'good', key: 'k' })]);
    expect([first, second]).toEqual([{ kind: 'dead', reason: 'max_attempts' }, { kind: 'done' }]);
    expect(ran).toEqual(['bad', 'bad', 'bad', 'good']);
    expect(await letters()).toMatchObject([{ attempt: 3 }]);
  });

  it('lets other keys pass', async () => {
    await start('function: slow, order: { key: key }');
    const ended: string[] = [];
    const one = async (body: string, key: string): Promise<void> => {
      await give({ body, key });
      ended.push(body);
    };
    await Promise.all([one('a1', 'a'), one('a2', 'a'), one('b1', 'b')]);
    expect(ended.at(-1)).toBe('a2');
  });

  it('is that of the queue with ack: enqueued', async () => {
    await start('function: a, order: { key: key }, ack: enqueued');
    script.push({ status: 500 });
    for (const body of ['1', '2', '3']) expect(await give({ body, key: 'k' })).toMatchObject({ kind: 'accepted' });
    await expect.poll(() => ran).toEqual(['1', '1', '2', '3']);
  });
});

describe('debounce', () => {
  it('runs the last one of a row only', async () => {
    await start('function: a, debounce: { key: data.cart, quiet: 100ms }');
    const said = await Promise.all([1, 2, 3].map((n) => give({ body: { cart: 'x', n } })));
    expect(said).toEqual([{ kind: 'done' }, { kind: 'done' }, { kind: 'done' }]);
    expect(ran.map((body) => JSON.parse(body) as unknown)).toHaveLength(1);
    expect(await metric('debounced_total')).toBe(2);
  });
});

describe('rateLimit', () => {
  it('lets no more runs begin', async () => {
    await start('function: a, rateLimit: { limit: 1, per: 60ms, burst: 2 }');
    const begun = performance.now();
    await Promise.all(Array.from({ length: 6 }, (_, index) => give({ body: String(index) })));
    expect(ran).toHaveLength(6);
    // Two at once, four one after the other; a timer may be a little early.
    expect(performance.now() - begun).toBeGreaterThan(4 * 60 - 10);
  });
});

describe('batch', () => {
  const bodies = [1, 2, 3, 4].map((n) => ({ n }));
  const itemsOf = (body: string | undefined): { id: string; data: { n: number } }[] =>
    JSON.parse(body ?? '[]') as never;

  it('gives several messages as a list of events', async () => {
    await start('function: a, batch: { size: 4, window: 10s }');
    expect(await Promise.all(bodies.map((body) => give({ body })))).toEqual(bodies.map(() => ({ kind: 'done' })));
    expect(ran).toHaveLength(1);
    expect(ranHeaders[0]).toMatchObject({
      'content-type': 'application/cloudevents-batch+json',
      'x-batch-size': '4',
    });
    const items = itemsOf(ran[0]);
    expect(items.map(({ data }) => data.n).toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4]);
    expect(items[0]).toMatchObject({
      specversion: '1.0',
      type: 'millrace.messages-test.message',
      source: '/connectors/bus',
    });
  });

  it('is closed by its window, and one message alone is a list too; of what map made', async () => {
    await start('function: a, batch: { window: 50ms, size: 9 }, map: data.n');
    await give({ body: { n: 7 } });
    expect(ran).toEqual(['[7]']);
  });

  it('is run again in halves when it fails, until what is bad is alone', async () => {
    await start('function: a, batch: { size: 4, window: 10s }');
    // All four; the first two; one of them alone, thrice with its retries in the queue; the other; the second half.
    script.push({ status: 500 }, { status: 500 }, { status: 422 }, { status: 200 }, { status: 200 });
    const said = await Promise.all(bodies.map((body) => give({ body })));
    expect(said.filter(({ kind }) => kind === 'done')).toHaveLength(3);
    expect(said.filter(({ kind }) => kind === 'dead')).toHaveLength(1);
    expect(ran.map((body) => itemsOf(body).length)).toEqual([4, 2, 1, 1, 2]);
    expect(await letters()).toHaveLength(1);
  });

  it('may say which of its items failed', async () => {
    await start('function: a, batch: { size: 3, window: 10s, reportItems: true }');
    script.push({ status: 200, body: '{"batchItemFailures":[{"itemIdentifier":"two"}]}' }, { status: 422 });
    const said = await Promise.all(['one', 'two', 'three'].map((id) => give({ body: { id }, id })));
    expect(said).toEqual([{ kind: 'done' }, { kind: 'dead', reason: 'permanent' }, { kind: 'done' }]);
    expect(ran.map((body) => itemsOf(body).map(({ id }) => id))).toEqual([expect.arrayContaining(['two']), ['two']]);
  });

  const naming = (...ids: string[]): { status: number; body: string } => ({
    status: 200,
    body: JSON.stringify({
      batchItemFailures: ids.map((itemIdentifier) => ({ itemIdentifier, message: 'it has no unit' })),
    }),
  });
  const idsThatRan = (): string[][] => ran.map((body) => itemsOf(body).map(({ id }) => id));
  const giveThree = (): Promise<Said[]> => Promise.all(['one', 'two', 'three'].map((id) => give({ body: { id }, id })));

  // A function as of AWS Lambda answers 200 in any case.
  it('has failed where its answer names the only item that there is, in the queue too', async () => {
    await start('function: a, batch: { size: 3, window: 10s, reportItems: true }');
    script.push(...Array.from({ length: 4 }, () => naming('two')));
    expect(await giveThree()).toMatchObject([{ kind: 'done' }, { kind: 'accepted' }, { kind: 'done' }]);
    await expect.poll(letters).toHaveLength(1);
    expect(idsThatRan().slice(1)).toEqual([['two'], ['two'], ['two']]);
    const [{ reason, errors } = {}] = await letters();
    expect(reason).toBe('max_attempts');
    expect(errors).toEqual([1, 2, 3].map((attempt) => expect.objectContaining({ attempt, message: 'it has no unit' })));
  });

  it.each(['function: a', 'functions: [a, b]'])(
    'may say so of what is in the queue: ack: enqueued, %s',
    async (who) => {
      await start(`${who}, ack: enqueued, batch: { size: 3, window: 10s, reportItems: true }`);
      script.push(naming('three', 'one'), { status: 422 }, { status: 200 });
      for (const said of await giveThree()) expect(said).toMatchObject({ kind: 'accepted' });
      const alone = (): string[] => idsThatRan().flatMap((ids) => (ids.length === 1 ? ids : []));
      await expect.poll(() => alone().toSorted()).toEqual(['one', 'three']);
      await expect.poll(letters).toHaveLength(1);
      const [letter] = await letters();
      expect(letter).toMatchObject({ reason: 'permanent', attempt: 1, headers: { 'x-batch-size': '1' } });
      expect(itemsOf(await letterBody(letter?.['id'])).map(({ id }) => id)).toEqual(alone().slice(0, 1));
    },
  );

  it.each([
    ['an item that it was not given, all of them run alone', '', naming('four'), [['one'], ['two'], ['three']]],
    ['one of an order key, all of them run again', ', order: { key: topic }', naming('two'), [['one', 'two', 'three']]],
  ])('where it names %s', async (_what, more, answer, then) => {
    await start(`function: a, ack: enqueued, batch: { size: 3, window: 10s, reportItems: true }${more}`);
    script.push(answer);
    await giveThree();
    await expect.poll(() => idsThatRan().slice(1).map(String).toSorted()).toEqual(then.map(String).toSorted());
    expect(await letters()).toEqual([]);
  });

  it('goes whole into the queue with ack: enqueued', async () => {
    await start('function: a, batch: { size: 2, window: 10s }, ack: enqueued');
    const said = await Promise.all([give({ body: '1' }), give({ body: '2' })]);
    expect(said).toMatchObject([{ kind: 'accepted' }, { kind: 'accepted' }]);
    await expect.poll(() => ran.length).toBe(1);
  });

  it('never mixes order keys', async () => {
    await start('function: a, batch: { size: 2, window: 100ms }, order: { key: key }');
    await Promise.all([give({ body: '1', key: 'a' }), give({ body: '2', key: 'b' }), give({ body: '3', key: 'a' })]);
    expect(ran.map((body) => itemsOf(body).length).toSorted((a, b) => a - b)).toEqual([1, 2]);
  });

  it('larger than the credit is refused', async () => {
    await expect(start('function: a, credit: 8, batch: { size: 9 }')).rejects.toThrow('credit is 8');
  });
});

describe('a stop', () => {
  it('runs what waits for company', async () => {
    const { gateway } = await start('function: a, batch: { size: 9, window: 1h }');
    const waiting = give({ body: '1' });
    await expect
      .poll(async () => await get('/system/connectors'))
      .toMatchObject(expect.arrayContaining([expect.objectContaining({ name: 'bus', inFlight: 1 })]) as never);
    await gateway.stop(2000);
    expect(await waiting).toEqual({ kind: 'done' });
    expect(ran).toHaveLength(1);
  });

  it('gives back what waits for another attempt', async () => {
    const { gateway } = await start('function: a, order: { key: key }', '1h');
    script.push({ status: 503 });
    const waiting = give({ body: '1', key: 'k', attempt: 2 });
    await expect.poll(() => ran.length).toBe(1);
    await gateway.stop(2000);
    expect(await waiting).toEqual({ kind: 'retry', counted: false });
  });

  it('gives back what waits behind that, instead of running it first', async () => {
    const { gateway } = await start('function: a, order: { key: key }', '1h');
    script.push({ status: 503 });
    const waiting = [give({ body: '1', key: 'k' })];
    await expect.poll(() => ran.length).toBe(1);
    waiting.push(give({ body: '2', key: 'k' }), give({ body: '3', key: 'k' }));
    await expect
      .poll(async () => await get('/system/connectors'))
      .toMatchObject(expect.arrayContaining([expect.objectContaining({ name: 'bus', inFlight: 3 })]) as never);
    await gateway.stop(2000);
    const isBack = { kind: 'retry', counted: false };
    expect(await Promise.all(waiting)).toEqual([isBack, isBack, isBack]);
    expect(ran).toEqual(['1']);
  });
});
