import { afterEach, describe, expect, it } from 'vitest';
import cron from '../../connectors/cron/index.ts';
import { CronWorld, type Replica } from '../support/cron-world.ts';
import type { Verdict } from '../../core/contracts/delivery.ts';

const start = '2026-01-01T00:00:30.000Z';
const replicas: Replica[] = [];
afterEach(() => {
  for (const replica of replicas.splice(0)) replica.kill();
});

async function run(world: CronWorld, input: object, skewMs = 0): Promise<Replica> {
  const replica = await world.replica(input, skewMs);
  replicas.push(replica);
  return replica;
}

function at(...times: string[]): string[] {
  return times.map((time) => `2026-01-01T${time}.000Z`);
}

const full: Verdict = {
  kind: 'done',
  outcome: {
    status: 429,
    headers: {},
    body: null,
    durationMs: 0,
    failure: 'refused',
    error: { code: 'queue.full', message: 'the queue is full' },
  },
  effects: [],
};

describe('a schedule fires', () => {
  it('an invocation a slot, and remembers it', async () => {
    const world = new CronWorld(start);
    const replica = await run(world, {
      schedule: '* * * * *',
      function: 'report.prod',
      event: { type: 'report.minute', data: { full: true } },
      headers: { 'x-team': 'blue' },
      priority: 7,
      maxAge: '10m',
      overlap: 'allow',
    });
    await world.until('2026-01-01T00:02:10Z');
    expect(world.slots).toEqual(at('00:01:00', '00:02:00'));
    expect(world.fires.map(({ at }) => new Date(at).toISOString())).toEqual(world.slots);
    const { request } = world.fires[0]?.delivery ?? expect.fail();
    expect(request).toMatchObject({
      function: 'report.prod',
      method: 'POST',
      mode: 'async',
      headers: {
        'content-type': 'application/json',
        'ce-id': 'cron:nightly:2026-01-01T00:01:00.000Z',
        'ce-source': '/connectors/nightly',
        'ce-specversion': '1.0',
        'ce-time': '2026-01-01T00:01:00.000Z',
        'ce-type': 'report.minute',
        'x-team': 'blue',
      },
      options: { dedupKey: 'cron:nightly:2026-01-01T00:01:00.000Z', priority: 7, maxAgeMs: 600_000 },
    });
    expect(request.options?.dedupWindowMs).toBeGreaterThanOrEqual(3 * 3_600_000);
    expect(Buffer.from(request.body as Uint8Array).toString()).toBe('{"full":true}');
    expect(JSON.parse((await world.store.get('cron/nightly'))?.value ?? '')).toEqual({
      lastSlot: '2026-01-01T00:02:00.000Z',
      lastInvocationId: 'id-2',
      schedule: '* * * * * UTC',
    });
    expect(replica.counts).toEqual({ fired_total: 2 });
    await replica.stop();
    expect(replica.connector.health().state).toBe('stopped');
  });

  it('is not late by the time that its invocations take', async () => {
    const world = new CronWorld(start);
    await run(world, { schedule: '@every 10s', overlap: 'allow' });
    await world.until('2026-01-01T01:00:00Z');
    expect(world.fires).toHaveLength(357);
    for (const { slot, at } of world.fires) expect(at - Date.parse(slot)).toBeLessThanOrEqual(0);
  });

  it('not on excluded dates', async () => {
    const world = new CronWorld('2026-12-24T00:00:00Z');
    await run(world, { schedule: '0 12 * * *', overlap: 'allow', exclude: ['2026-12-25'] });
    await world.until('2026-12-27T00:00:00Z');
    expect(world.slots).toEqual(['2026-12-24T12:00:00.000Z', '2026-12-26T12:00:00.000Z']);
  });

  it('with a jitter that is bounded and the same on every replica', async () => {
    const delays: number[][] = [];
    for (let replica = 0; replica < 2; replica++) {
      const world = new CronWorld(start);
      await run(world, { schedule: '@every 5m', overlap: 'allow', jitter: '2m' });
      await world.until('2026-01-01T08:30:00Z');
      delays.push(world.fires.map(({ slot, at }) => at - Date.parse(slot)));
    }
    expect(delays[0]).toEqual(delays[1]);
    expect(delays[0]?.length).toBeGreaterThan(100);
    expect(Math.min(...(delays[0] ?? []))).toBeLessThan(20_000);
    expect(Math.max(...(delays[0] ?? []))).toBeGreaterThan(100_000);
    expect(Math.max(...(delays[0] ?? []))).toBeLessThanOrEqual(120_000);
  });
});

describe('when the invocation before has not finished', () => {
  it.each([
    ['skip', 'queued', 1, 1, undefined, 0],
    ['skip', 'running', 1, 1, undefined, 0],
    ['skip', 'failed', 1, 1, undefined, 0],
    ['skip', 'succeeded', 2, 0, undefined, 0],
    ['skip', 'dead', 2, 0, undefined, 0],
    ['allow', 'running', 2, 0, undefined, 0],
    ['bufferAll', 'queued', 2, 0, 'cron:nightly', 0],
    ['bufferAll', 'running', 2, 0, 'cron:nightly', 0],
    ['bufferOne', 'running', 2, 0, 'cron:nightly', 0],
    ['bufferOne', 'queued', 1, 1, 'cron:nightly', 0],
    ['bufferOne', 'delayed', 1, 1, 'cron:nightly', 0],
    ['bufferOne', 'succeeded', 2, 0, 'cron:nightly', 0],
    ['cancelPrevious', 'running', 2, 0, undefined, 1],
    ['cancelPrevious', 'queued', 2, 0, undefined, 1],
    ['cancelPrevious', 'succeeded', 2, 0, undefined, 0],
  ] as const)('%s, %s: %i fires', async (overlap, state, fires, skipped, orderKey, cancelled) => {
    const world = new CronWorld(start);
    const replica = await run(world, { schedule: '* * * * *', overlap });
    await world.until('2026-01-01T00:01:30Z');
    world.states.set('id-1', state);
    await world.until('2026-01-01T00:02:30Z');
    expect(world.fires).toHaveLength(fires);
    expect(replica.counts['skipped_total'] ?? 0).toBe(skipped);
    expect(world.fires[0]?.delivery.request.options?.orderKey).toBe(orderKey);
    expect(world.cancelled).toHaveLength(cancelled);
    world.states.set('id-1', 'succeeded');
    world.states.set('id-2', 'succeeded');
    await world.until('2026-01-01T00:03:30Z');
    expect(world.slots.at(-1)).toBe('2026-01-01T00:03:00.000Z');
  });
});

describe('slots that were missed', () => {
  it.each([
    ['none', '1h', []],
    ['latest', '1h', ['00:10:00']],
    [
      'all',
      '1h',
      ['00:02:00', '00:03:00', '00:04:00', '00:05:00', '00:06:00', '00:07:00', '00:08:00', '00:09:00', '00:10:00'],
    ],
    ['all', '3m', ['00:08:00', '00:09:00', '00:10:00']],
    ['latest', '10s', []],
  ] as const)('while it was down: %s within %s', async (mode, window, made) => {
    const world = new CronWorld(start);
    const input = { schedule: '* * * * *', overlap: 'allow', catchUp: { mode, window } };
    const first = await run(world, input);
    await world.until('2026-01-01T00:01:10Z');
    first.kill();
    await world.until('2026-01-01T00:10:40Z');
    const second = await run(world, input);
    await world.until('2026-01-01T00:11:10Z');
    expect(world.slots).toEqual(at('00:01:00', ...made, '00:11:00'));
    expect(second.counts['missed_total'] ?? 0).toBe(9 - made.length);
  });

  it.each([
    ['none', []],
    ['latest', ['05:10:00']],
    [
      'all',
      Array.from({ length: 60 }, (_, index) =>
        new Date(Date.UTC(2026, 0, 1, 4, 11 + index)).toISOString().slice(11, 19),
      ),
    ],
  ] as const)('while the clock jumped on: %s', async (mode, made) => {
    const world = new CronWorld(start);
    await run(world, { schedule: '* * * * *', overlap: 'allow', catchUp: { mode } });
    await world.until('2026-01-01T00:01:10Z');
    world.jump('2026-01-01T05:10:40Z');
    await world.until('2026-01-01T05:11:10Z');
    expect(world.slots).toEqual(at('00:01:00', ...made, '05:11:00'));
  });

  it('are not made up for when the schedule was another one, or there was none', async () => {
    const world = new CronWorld(start);
    const first = await run(world, { schedule: '0 0 * * *', catchUp: { mode: 'all' } });
    await world.until('2026-01-01T00:01:10Z');
    first.kill();
    await world.until('2026-01-01T00:10:40Z');
    await run(world, { schedule: '* * * * *', overlap: 'allow', catchUp: { mode: 'all' } });
    await world.until('2026-01-01T00:11:10Z');
    expect(world.slots).toEqual(at('00:11:00'));
  });

  it('before the first one are made up for, too', async () => {
    const world = new CronWorld(start);
    const first = await run(world, { schedule: '0 1 * * *' });
    await world.until('2026-01-01T00:59:00Z');
    first.kill();
    await world.until('2026-01-01T01:30:00Z');
    await run(world, { schedule: '0 1 * * *' });
    await world.until('2026-01-01T01:31:00Z');
    expect(world.slots).toEqual(at('01:00:00'));
  });

  it('do not fire again when the clock jumps back', async () => {
    const world = new CronWorld(start);
    await run(world, { schedule: '* * * * *', overlap: 'allow' });
    await world.until('2026-01-01T00:30:10Z');
    world.jump('2026-01-01T00:00:10Z');
    await world.until('2026-01-01T00:32:10Z');
    expect(new Set(world.slots).size).toBe(32);
    expect(world.fires).toHaveLength(32);
    expect(world.duplicates).toBe(0);
  });
});

describe('a slot that is refused', () => {
  it('is tried again until it is taken', async () => {
    const world = new CronWorld(start);
    const replica = await run(world, { schedule: '0 1 * * *' });
    world.refuse = () => full;
    await world.until('2026-01-01T01:20:00Z');
    expect(world.fires).toHaveLength(0);
    expect(replica.counts['refused_total']).toBeGreaterThan(20);
    expect(replica.connector.health()).toMatchObject({ state: 'running', lastError: 'the queue is full' });
    world.refuse = () => undefined;
    await world.until('2026-01-01T01:21:00Z');
    expect(world.slots).toEqual(at('01:00:00'));
    expect(replica.connector.health().lastError).toBeUndefined();
  });

  it('is given up with a count when its window has passed', async () => {
    const world = new CronWorld(start);
    const replica = await run(world, { schedule: '0 * * * *', catchUp: { window: '10m' } });
    world.refuse = () => ({ ...full, kind: 'retry', delayMs: 1, counted: true });
    await world.until('2026-01-01T01:30:00Z');
    world.refuse = () => undefined;
    await world.until('2026-01-01T02:30:00Z');
    expect(world.slots).toEqual(at('02:00:00'));
    expect(replica.counts['lost_total']).toBe(1);
  });

  it('waits for a store that is away', async () => {
    const world = new CronWorld(start);
    const replica = await run(world, { schedule: '0 1 * * *' });
    await world.until('2026-01-01T00:59:00Z');
    await world.store.stop(0);
    await world.until('2026-01-01T01:10:00Z');
    expect(world.fires).toHaveLength(0);
    expect(replica.connector.health().lastError).toContain('not open');
    await world.store.start();
    await world.until('2026-01-01T01:11:00Z');
    expect(world.slots).toEqual(at('01:00:00'));
  });
});

describe('across replicas and restarts', () => {
  it('each of 500 slots fires once, with clocks 2 s apart and crashes between enqueue and record', async () => {
    const world = new CronWorld('2026-01-01T00:00:00.500Z');
    const input = { schedule: '@every 10s', overlap: 'allow', catchUp: { mode: 'all' } };
    let seed = 42;
    const random = (): number => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) / 2 ** 31;
    let kills = 0;
    const dead: number[] = [];
    const skews = [-2000, 0, 2000];
    const running = await Promise.all(skews.map((skew) => run(world, input, skew)));
    world.onEnqueued = (replica) => {
      if (random() > 0.3) return;
      kills++;
      replica.kill();
      dead.push(running.findIndex(({ connector }) => connector === replica.connector));
    };
    const end = world.now + 500 * 10_000;
    while (world.now < end) {
      await world.until(new Date(Math.min(end, world.now + 1000 + random() * 14_000)).toISOString());
      for (const index of dead.splice(0)) running[index] = await run(world, input, skews[index]);
    }
    world.onEnqueued = () => {};
    await world.until(new Date(end + 60_000).toISOString());
    const expected = Array.from({ length: 500 }, (_, index) =>
      new Date(Date.UTC(2026) + (index + 1) * 10_000).toISOString(),
    );
    expect(world.slots.slice(0, 500)).toEqual(expected);
    expect(new Set(world.slots).size).toBe(world.fires.length);
    expect(kills).toBeGreaterThan(100);
    expect(world.duplicates).toBeGreaterThan(20);
  });
});

describe('schedules in the annotations of functions', () => {
  const firedOf = (world: CronWorld, name: string): string[] =>
    world.fires.filter(({ delivery }) => delivery.request.function === name).map(({ slot }) => slot.slice(-24));

  it('fire as long as the function is there, several for one too, each slot once', async () => {
    const world = new CronWorld(start);
    await run(world, { annotation: 'schedule', overlap: 'allow' });
    await run(world, { annotation: 'schedule', overlap: 'allow' }, 500);
    world.deploy({
      often: { topic: 'cron-function', schedule: '* * * * *' },
      twice: { topic: 'mail, cron-function', schedule: '2 0 * * *; CRON_TZ=Europe/Berlin 3 1 * * *' },
      other: { topic: 'mail', schedule: '* * * * *' },
      wrong: { topic: 'cron-function', schedule: 'often' },
    });
    await world.until('2026-01-01T00:03:30Z');
    expect(firedOf(world, 'often')).toEqual(at('00:01:00', '00:02:00', '00:03:00'));
    expect(firedOf(world, 'twice')).toEqual(at('00:02:00', '00:03:00'));
    expect(firedOf(world, 'other')).toEqual([]);
    world.deploy({ new: { topic: 'cron-function', schedule: '* * * * *' } });
    await world.until('2026-01-01T00:05:30Z');
    expect(firedOf(world, 'often')).toHaveLength(3);
    expect(firedOf(world, 'new')).toEqual(at('00:04:00', '00:05:00'));
    expect(world.fires[0]?.delivery.request.headers).toMatchObject({ 'x-topic': 'cron-function' });
  });

  it('that make no sense are told, and are not in the way of others', async () => {
    const world = new CronWorld(start);
    const { connector } = await run(world, { annotation: 'schedule' });
    world.deploy({
      wrong: { topic: 'cron-function', schedule: 'often' },
      right: { topic: 'cron-function', schedule: '* * * * *' },
    });
    await world.until('2026-01-01T00:01:10Z');
    expect(connector.health().lastError).toMatch(/^the annotation schedule of wrong is "often": /);
    expect(firedOf(world, 'right')).toEqual(at('00:01:00'));
  });
});

describe('the configuration', () => {
  it.each(cron.examples.map((example) => [example]))('may be %j', (example) => {
    expect(cron.config.safeParse(example).success).toBe(true);
  });

  it.each([
    [{ schedule: '0 0 30 2 *' }, 'schedule'],
    [{ schedule: 'often' }, 'schedule'],
    [{ timeZone: 'Mars/Olympus' }, 'timeZone'],
    [{ exclude: ['2026-02-30'] }, 'exclude'],
    [{ startAt: 'tomorrow' }, 'startAt'],
    [{ startAt: '2026-01-01T00:00:00Z', endAt: '2025-01-01T00:00:00Z' }, 'endAt'],
    [{ startAt: '2026-01-01T00:00:10Z', endAt: '2026-01-01T00:00:20Z' }, 'endAt'],
    [{ overlap: 'sometimes' }, 'overlap'],
    [{ catchUp: { mode: 'some' } }, 'catchUp'],
    [{ headers: { 'X-Upper': '1' } }, 'headers'],
    [{ headers: { 'x-line': 'a\r\nb' } }, 'headers'],
    [{ event: { type: 'has space' } }, 'event'],
    [{ priority: 10 }, 'priority'],
  ])('may not be %j', (input, key) => {
    const parsed = cron.config.safeParse({ schedule: '* * * * *', function: 'f', ...input });
    expect(parsed.error?.issues.map(({ path }) => path[0])).toContain(key);
  });
});

describe('when somebody asks', () => {
  it('it fires at once, each time, and the schedule goes on', async () => {
    const world = new CronWorld(start);
    const replica = await run(world, { schedule: '0 1 * * *', overlap: 'skip' });
    await world.until('2026-01-01T00:00:40Z');
    const first = await replica.connector.trigger();
    const second = await replica.connector.trigger();
    expect([...first, ...second]).toEqual([
      { id: 'id-1', duplicate: false, at: Date.parse('2026-01-01T00:00:40Z') },
      { id: 'id-2', duplicate: false, at: Date.parse('2026-01-01T00:00:40Z') },
    ]);
    await world.until('2026-01-01T01:00:10Z');
    expect(world.fires.map(({ at }) => new Date(at).toISOString().slice(11, 19))).toEqual([
      '00:00:40',
      '00:00:40',
      '01:00:00',
    ]);
  });

  it('it fires the slots of a time that has passed, but for those that had fired', async () => {
    const world = new CronWorld(start);
    const replica = await run(world, { schedule: '*/10 * * * *', overlap: 'allow' });
    await world.until('2026-01-01T00:25:00Z');
    expect(world.slots).toEqual(at('00:10:00', '00:20:00'));
    const from = Date.parse('2025-12-31T23:50:00Z');
    const to = Date.parse('2026-01-01T00:20:00Z');
    const asked = await replica.connector.trigger({ from, to });
    expect(asked.map(({ at, duplicate }) => [new Date(at).toISOString().slice(11, 16), duplicate])).toEqual([
      ['23:50', false],
      ['00:00', false],
      ['00:10', true],
      ['00:20', true],
    ]);
    expect((await replica.connector.trigger({ from, to })).map(({ duplicate }) => duplicate)).toEqual([
      true,
      true,
      true,
      true,
    ]);
    expect(world.fires).toHaveLength(4);
    await world.until('2026-01-01T00:30:10Z');
    expect(world.slots.at(-1)).toBe('2026-01-01T00:30:00.000Z');
  });

  it('it tells a refusal, and asks for fewer slots when there are too many', async () => {
    const world = new CronWorld(start);
    const replica = await run(world, { schedule: '* * * * * *', overlap: 'allow', startAt: '2026-02-01T00:00:00Z' });
    world.refuse = () => full;
    await expect(replica.connector.trigger()).rejects.toMatchObject({ code: 'queue.full' });
    const slots = { from: Date.parse('2026-03-01T00:00:00Z'), to: Date.parse('2026-03-02T00:00:00Z') };
    await expect(replica.connector.trigger(slots)).rejects.toThrow('more than 10000 slots');
    await replica.stop();
    await expect(replica.connector.trigger()).rejects.toMatchObject({ code: 'gateway.stopping' });
  });
});
