import { join } from 'node:path';
import { request } from 'undici';
import { afterEach, describe, expect, it } from 'vitest';
import { inlinePlugin, testGateway, type TestGateway } from '../support/gateway.ts';

const source = join(import.meta.dirname, '../support/plugins/source.ts');
let running: TestGateway | undefined;
afterEach(async () => {
  await running?.[Symbol.asyncDispose]();
  running = undefined;
});

const yaml = (more = ''): string => `
gateway: { listen: { port: 0 }, management: { port: 0 }, limits: { asyncBody: 1KiB } }
policies:
  retry:
    quick: { attempts: 3, backoff: { kind: fixed, initial: 20ms, jitter: none }, retryOn: ["5xx"] }
    never: { attempts: 3, retryOn: [timeout] }
functions:
  echo: { behaviour: echo, invoke: { onSuccess: [{ function: after }] } }
  after: { behaviour: echo }
  plain: { behaviour: echo }
  fail: { behaviour: fail, invoke: { retry: quick } }
  hopeless: { behaviour: fail, invoke: { retry: never } }
  permanent: { behaviour: fail, invoke: { retry: never, onFailure: [{ function: after }] } }
connectors: { source: { kind: source-test } }
${more}`;

async function start(more?: string): Promise<TestGateway> {
  running = await testGateway(yaml(more), {}, [inlinePlugin, source]);
  return running;
}

interface Said {
  readonly kind: string;
  readonly id?: string;
  readonly reason?: string;
  readonly counted?: boolean;
  readonly delayMs?: number;
}
async function give(data: Record<string, unknown>): Promise<Said> {
  const { body } = await request(`${running?.url}/give`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ body: 'given', ...data }),
  });
  return (await body.json()) as Said;
}
const get = async (path: string): Promise<Record<string, unknown>> =>
  (await (await request(`${running?.url}${path}`)).body.json()) as Record<string, unknown>;
const lettersOf = async (): Promise<Record<string, unknown>[]> =>
  (await get('/system/dead-letters'))['items'] as Record<string, unknown>[];
const lane = async (name: string): Promise<Record<string, unknown> | undefined> => {
  const rows = (await get('/system/queues')) as unknown as Record<string, unknown>[];
  return rows.find((row) => row['level'] === 'function' && row['name'] === `${name}.openfaas-fn`);
};

describe('a message that a connector acknowledges when it has been processed', () => {
  it('is done when its function has answered', async () => {
    await start();
    expect(await give({ function: 'plain' })).toEqual({ kind: 'done' });
    expect(await lane('plain')).toMatchObject({ ready: 0, delayed: 0, dead: 0 });
  });

  it('goes on in the queue when it failed, with its attempt counted, to a dead letter with its bytes', async () => {
    await start();
    const said = await give({ function: 'fail', body: 'precious' });
    expect(said).toMatchObject({ kind: 'accepted' });
    const record = await get(`/invocations/${said.id}?wait=5s`);
    expect(record).toMatchObject({ state: 'dead', attempt: 3 });
    const [letter] = await lettersOf();
    expect(letter).toMatchObject({ id: said.id, attempt: 3, reason: 'max_attempts' });
    expect(letter?.['errors']).toMatchObject([{ attempt: 1 }, { attempt: 2 }, { attempt: 3 }]);
    const body = await request(`${running?.url}/system/dead-letters/${said.id}/body`);
    expect(await body.body.text()).toBe('precious');
  });

  it('is a dead letter at once when another attempt would not help, with what follows from it', async () => {
    await start();
    expect(await give({ function: 'permanent' })).toEqual({ kind: 'dead', reason: 'permanent' });
    expect(await lettersOf()).toMatchObject([{ reason: 'permanent', attempt: 1, function: 'permanent.openfaas-fn' }]);
    await expect.poll(async () => (await get('/system/functions'))['length']).toBeGreaterThan(0);
    await expect.poll(async () => ranOf('after')).toBe(1);
  });

  it('counts the attempts of the broker, so that one that never ends well comes to an end', async () => {
    await start();
    expect(await give({ function: 'fail', attempt: 3 })).toEqual({ kind: 'dead', reason: 'max_attempts' });
    expect(await lettersOf()).toMatchObject([{ attempt: 3 }]);
  });

  it('is not run once more when every attempt took the gateway with it', async () => {
    await start();
    expect(await give({ function: 'plain', attempt: 6 })).toEqual({ kind: 'dead', reason: 'crashed' });
    expect(await lettersOf()).toMatchObject([{ reason: 'crashed', attempt: 6 }]);
    expect(await ranOf('plain')).toBe(0);
  });

  it('of a function that is not there is kept', async () => {
    await start();
    const said = await give({ function: 'nowhere', attempt: 99 });
    expect(said).toEqual({ kind: 'dead', reason: 'unroutable' });
    expect(await lettersOf()).toMatchObject([{ reason: 'unroutable', function: 'nowhere.openfaas-fn' }]);
  });

  it('leaves what follows from it in the queue before it is acknowledged', async () => {
    await start();
    expect(await give({ function: 'echo' })).toEqual({ kind: 'done' });
    await expect.poll(async () => ranOf('after')).toBe(1);
  });

  it('stays at its source while the queue cannot take it', async () => {
    await start('queues: { default: { kind: memory, allowVolatile: true, limits: { messages: 1 } } }');
    await request(`${running?.url}/system/queues/fail/pause`, { method: 'POST' });
    await request(`${running?.url}/async-function/fail`, { method: 'POST' });
    expect(await give({ function: 'fail' })).toEqual({ kind: 'retry', counted: false, delayMs: 5000 });
    // A dead letter does not wait, and has room always; what would follow from it has none.
    expect(await give({ function: 'hopeless' })).toEqual({ kind: 'dead', reason: 'permanent' });
    expect(await give({ function: 'permanent' })).toEqual({ kind: 'retry', counted: false, delayMs: 5000 });
    expect(await lettersOf()).toMatchObject([{ function: 'hopeless.openfaas-fn' }]);
  });
});

describe('a message that a connector acknowledges when it is enqueued', () => {
  it('is accepted, and stays at its source while the queue is full', async () => {
    await start('queues: { default: { kind: memory, allowVolatile: true, limits: { messages: 1 } } }');
    await request(`${running?.url}/system/queues/plain/pause`, { method: 'POST' });
    expect(await give({ function: 'plain', mode: 'async' })).toMatchObject({ kind: 'accepted' });
    expect(await give({ function: 'plain', mode: 'async' })).toMatchObject({ kind: 'retry', counted: false });
  });
});

async function ranOf(name: string): Promise<number> {
  const rows = (await get('/system/functions')) as unknown as { name: string; invocationCount: number }[];
  return rows.find((row) => row.name === name)?.invocationCount ?? 0;
}
