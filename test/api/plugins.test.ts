import { join } from 'node:path';
import { request } from 'undici';
import { afterEach, describe, expect, it } from 'vitest';
import { onStray } from '../../core/host/plugins.ts';
import { pino } from 'pino';
import { eventually, testGateway, type TestGateway } from '../support/gateway.ts';

const hostile = join(import.meta.dirname, '../support/plugins/hostile.ts');
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

describe('a connector that goes wrong', () => {
  it.each(['create', 'start', 'deliveries', 'error', 'timer', 'rejection'])(
    'at %s is marked failed and named, and the host lives',
    async (when) => {
      const gateway = await start(`connectors: { bad: { kind: hostile, when: ${when} } }`);
      const { failed, statusCode } = await eventually(async () => {
        const state = await readiness(gateway);
        return state.failed.length > 0 ? state : undefined;
      });
      expect([statusCode, failed[0]?.name]).toEqual([503, 'bad']);
      const connectors = await (await request(`${gateway.url}/system/connectors`)).body.text();
      expect(connectors).toContain('went wrong');
      expect(await answers(gateway)).toEqual([200, 'alive']);
      expect(unblamed).toEqual([]);
    },
  );
  it('by emitting more than its credit is stopped', async () => {
    const gateway = await start('connectors: { bad: { kind: hostile, when: flood } }');
    expect((await readiness(gateway)).failed.map(({ name }) => name)).toEqual(['bad']);
    expect(await answers(gateway)).toEqual([200, 'alive']);
  });
  it.each(['twice', 'settle', 'never-settles', 'slow-stop', 'health'])('at %s hurts nobody else', async (when) => {
    const gateway = await start(`connectors: { bad: { kind: hostile, when: ${when} } }`);
    expect(await answers(gateway)).toEqual([200, 'alive']);
    const connectors = await request(`${gateway.url}/system/connectors`);
    expect(connectors.statusCode).toBe(200);
    expect(unblamed).toEqual([]);
  });
});

describe.each(['stores', 'queues', 'providers'])('a plugin among the %s that cannot start', (section) => {
  it('is left out and named', async () => {
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
