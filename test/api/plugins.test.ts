import { join } from 'node:path';
import { request } from 'undici';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { onStray } from '../../core/host/plugins.ts';
import { pino } from 'pino';
import { eventually, startingGateway, testGateway, type TestGateway } from '../support/gateway.ts';
import { startsOf } from '../support/plugins/late.ts';
import { isLong, saw } from '../support/promise.ts';

const hostile = join(import.meta.dirname, '../support/plugins/hostile.ts');
const late = join(import.meta.dirname, '../support/plugins/late.ts');
const inline = join(import.meta.dirname, '../support/plugins/inline.ts');
const logger = pino({ level: 'silent' });

let running: TestGateway | undefined;
// As serve does it: what nobody caught is blamed on the plugin whose code it was.
let unblamed: unknown[] = [];
const stray = (error: unknown): void => {
  if (!onStray(error, logger)) unblamed.push(error);
};

async function start(parts: string): Promise<TestGateway> {
  unblamed = [];
  const listeners = {
    exception: process.listeners('uncaughtException'),
    rejection: process.listeners('unhandledRejection'),
  };
  process.removeAllListeners('uncaughtException').on('uncaughtException', stray);
  process.removeAllListeners('unhandledRejection').on('unhandledRejection', stray);
  restore = () => {
    process.removeAllListeners('uncaughtException');
    process.removeAllListeners('unhandledRejection');
    for (const listener of listeners.exception) process.on('uncaughtException', listener);
    for (const listener of listeners.rejection) process.on('unhandledRejection', listener);
  };
  const providers = parts.includes('providers:') ? '' : 'providers: { inline: { kind: inline-test } }\n';
  const yaml = `gateway: { listen: { port: 0 }, management: { port: 0 }, shutdown: { drain: 1s } }
${providers}functions: { echo: { behaviour: echo, provider: inline${parts.includes('queues: { bad') ? ', invoke: { queue: bad }' : ''} } }
${parts}`;
  running = await testGateway(yaml, {}, [inline, hostile]);
  return running;
}
let restore = (): void => undefined;

afterEach(async () => {
  await running?.[Symbol.asyncDispose]();
  running = undefined;
  restore();
});

const readiness = async ({ url }: TestGateway) => {
  const { statusCode, body } = await request(`${url}/readyz`);
  return { statusCode, ...((await body.json()) as { ready: boolean; failed: { name: string; error: string }[] }) };
};
const answers = async ({ url }: TestGateway) => {
  const { statusCode, body } = await request(`${url}/function/echo`, { method: 'POST', body: 'alive' });
  return [statusCode, await body.text()];
};

/** What they do is their own affair, or is answered as what anybody does wrong. */
const harmless = [
  'twice',
  'settle',
  'never-settles',
  'slow-stop',
  'health',
  'stop',
  'after-stop',
  'blocks',
  'huge',
  'rubbish',
] as const;

describe('a connector that goes wrong', () => {
  it.each(['create', 'start', 'deliveries', 'error', 'timer', 'rejection', 'event', 'mutates'])(
    'at %s is marked failed and named, and the host lives (P30)',
    async (when) => {
      const gateway = await start(`connectors: { bad: { kind: hostile, when: ${when} } }`);
      const { failed, statusCode } = await eventually(async () => {
        const state = await readiness(gateway);
        return state.failed.length > 0 ? state : undefined;
      });
      expect([statusCode, failed[0]?.name]).toEqual([503, 'bad']);
      const connectors = await (await request(`${gateway.url}/system/connectors`)).body.text();
      expect(connectors).toMatch(/went wrong|read only/);
      expect(await answers(gateway)).toEqual([200, 'alive']);
      expect(unblamed).toEqual([]);
    },
  );
  it('by emitting more than its credit is stopped (P30)', async () => {
    const gateway = await start('connectors: { bad: { kind: hostile, when: flood } }');
    expect((await readiness(gateway)).failed.map(({ name }) => name)).toEqual(['bad']);
    expect(await answers(gateway)).toEqual([200, 'alive']);
  });
  it.each(harmless)('at %s hurts nobody else (P30)', async (when) => {
    const gateway = await start(`connectors: { bad: { kind: hostile, when: ${when} } }`);
    expect(await answers(gateway)).toEqual([200, 'alive']);
    const connectors = await request(`${gateway.url}/system/connectors`);
    expect(connectors.statusCode).toBe(200);
    expect(unblamed).toEqual([]);
  });
});

const named = ['create', 'start', 'deliveries', 'error', 'timer', 'rejection', 'event', 'flood', 'mutates'] as const;
const all = [...named, ...harmless];

describe('hostile connectors, all at once', () => {
  const everyone = `connectors: { http: { kind: http }, ${all.map((when) => `${when}: { kind: hostile, when: ${when} }`).join(', ')} }`;

  it(
    'leave the host alive, are named, and others go on, also over a stop (P30)',
    { timeout: 60_000 },
    async ({ task }) => {
      const gateway = await start(everyone);
      const missing = await eventually(async () => {
        const { failed } = await readiness(gateway);
        const left = named.filter((when) => !failed.some(({ name }) => name === when));
        return left.length === 0 ? left : undefined;
      });
      expect(missing).toEqual([]);
      for (let call = 0; call < 200; call++) expect(await answers(gateway)).toEqual([200, 'alive']);
      await gateway[Symbol.asyncDispose]();
      running = undefined;
      expect(unblamed).toEqual([]);
      saw(task, {
        result: `${all.length} hostile connectors, ${named.length} of them named in /readyz; 200 calls of others answered`,
      });
    },
  );

  it.runIf(isLong)('slow others down by half at most (P30)', { timeout: 300_000 }, async ({ task }) => {
    const p99 = async (parts: string): Promise<number> => {
      const gateway = await start(parts);
      const times: number[] = [];
      for (let call = 0; call < 20_000; call++) {
        const before = performance.now();
        expect(await answers(gateway)).toEqual([200, 'alive']);
        times.push(performance.now() - before);
      }
      await gateway[Symbol.asyncDispose]();
      running = undefined;
      restore();
      return times.toSorted((a, b) => a - b)[Math.floor(times.length * 0.99)] ?? 0;
    };
    // A plugin shares the thread: one that blocks it blocks all while it does.
    const calm = await p99('');
    const rough = await p99(everyone.replace('blocks: { kind: hostile, when: blocks }, ', ''));
    expect(rough).toBeLessThan(1.5 * calm);
    saw(task, { result: `p99 of others ${rough.toFixed(2)} ms, ${calm.toFixed(2)} ms without them` });
  });

  it('would be found out if one of them could not be blamed for what it does', async () => {
    await start('connectors: { bad: { kind: hostile, when: nobody } }');
    expect(await eventually(() => unblamed[0])).toMatchObject({ message: 'nobody went wrong' });
  });
});

describe.each(['stores', 'queues', 'providers'])('a plugin among the %s that cannot start', (section) => {
  it('is left out and named (P30)', async () => {
    const inlineToo = section === 'providers' ? 'inline: { kind: inline-test }, ' : '';
    const gateway = await start(`${section}: { ${inlineToo}bad: { kind: hostile } }`);
    const { failed } = await readiness(gateway);
    expect(failed.map(({ name }) => name)).toEqual(['bad']);
    expect(await answers(gateway)).toEqual([200, 'alive']);
  });
});

describe('a queue that is not there', () => {
  it('is answered 503 with Retry-After, and calls go on', async () => {
    const gateway = await start('queues: { default: { kind: hostile } }');
    const { statusCode, headers } = await request(`${gateway.url}/async-function/echo`, { method: 'POST' });
    expect([statusCode, headers['retry-after']]).toEqual([503, '5']);
    expect(await answers(gateway)).toEqual([200, 'alive']);
  });
});

describe('a part whose broker takes connections and is not whole yet', () => {
  const lateParts = (queue: string, connector: string): string =>
    `connections: { broker: { kind: late } }
queues: { late: { kind: late, connection: broker, ${queue} } }
connectors: { http: { kind: http }, late-source: { kind: late, connection: broker, ${connector} } }
functions: { echo: { behaviour: echo, invoke: { queue: late } } }
`;
  const starting = (queue: string, connector = 'times: 0'): ReturnType<typeof startingGateway> => {
    startsOf.clear();
    return startingGateway(lateParts(queue, connector), {}, [inline, late]);
  };

  it('is started again until it is, and works then', async () => {
    const { gateway, starting: started } = await starting('times: 2', 'times: 1');
    try {
      await started;
      expect(Object.fromEntries(startsOf)).toEqual({ late: 3, 'late-source': 2 });
      const ready = await request(`${gateway.url}/readyz`);
      expect([ready.statusCode, await ready.body.text()]).toEqual([200, expect.any(String)]);
      const { statusCode } = await request(`${gateway.url}/async-function/echo`, { method: 'POST', body: 'later' });
      expect(statusCode).toBe(202);
    } finally {
      await gateway.stop(1000);
    }
  });

  it('keeps nobody waiting who stops the gateway meanwhile', async () => {
    const { gateway, starting: started } = await starting('times: 1000');
    const ended = started.catch((error: unknown) => error);
    await eventually(() => startsOf.get('late'));
    await gateway.stop(1000);
    expect(await ended).toMatchObject({ message: expect.stringContaining('of late went wrong') });
    expect(startsOf.get('late')).toBeLessThan(5);
  });

  it('is not started again for what no waiting mends', async () => {
    const { gateway, starting: started } = await starting('times: 1000, forGood: true');
    await started;
    const { body } = await request(`${gateway.url}/readyz`);
    expect(await body.json()).toMatchObject({ ready: false, failed: [{ name: 'late' }] });
    expect(startsOf.get('late')).toBe(1);
    await gateway.stop(1000);
  });

  it('ends the start of the gateway when it is not whole after a minute, so that a supervisor starts that again', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    try {
      const { gateway, starting: started } = await starting('times: 1000');
      const ended = expect(started).rejects.toMatchObject({ code: 'queue.unavailable' });
      await vi.advanceTimersByTimeAsync(90_000);
      await ended;
      expect(startsOf.get('late')).toBeGreaterThan(10);
      vi.useRealTimers();
      await gateway.stop(1000);
    } finally {
      vi.useRealTimers();
    }
  });
});
