import { request } from 'undici';
import { afterEach, describe, expect, it } from 'vitest';
import { createToken } from '../../core/auth/token.ts';
import { RecentInvocations } from '../../core/observe/recent-invocations.ts';
import { eventually, testGateway, type TestGateway } from '../support/gateway.ts';

const secret = 'correct horse battery staple';
const tokens = { a: createToken(), all: createToken() };
const yaml = (more = ''): string => `
gateway:
  listen: { port: 0 }
  management: { port: 0 }
  ${more}
  auth:
    tokens:
      - { name: a, token: "${tokens.a}", scopes: [operate], namespaces: [a] }
      - { name: all, token: "${tokens.all}", scopes: [invoke, operate], namespaces: ['*'] }
  callbacks: { secret: "${secret}" }
functions:
  echo.a: { behaviour: echo }
  fails.b: { behaviour: fail, invoke: { retry: once } }
`;

let gateway: TestGateway | undefined;
afterEach(() => gateway?.[Symbol.asyncDispose]());

interface Answer {
  readonly status: number;
  // oxlint-disable-next-line typescript/no-explicit-any -- answers are looked at, field by field.
  readonly json: any;
}

async function ask(path: string, token: string, method: 'GET' | 'POST' = 'GET'): Promise<Answer> {
  const { statusCode, body } = await request(`${gateway?.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}` },
  });
  const text = await body.text();
  return { status: statusCode, json: text.startsWith('{') ? JSON.parse(text) : text };
}

/** What one listener was told, message by message. */
async function figures(token: string): Promise<Answer['json'][]> {
  const headers = { authorization: `Bearer ${token}` };
  const { body } = await request(`${gateway?.url}/system/figures`, { headers });
  const told: Answer['json'][] = [];
  let text = '';
  body.on('error', () => undefined); // It ends with the gateway.
  body.on('data', (chunk: Buffer) => {
    const messages = (text + chunk.toString()).split('\n\n');
    text = messages.pop() ?? '';
    for (const message of messages) told.push(JSON.parse(message.slice(message.indexOf('{'))));
  });
  return told;
}

const rowOf = (told: readonly Answer['json'][], kind: string, name: string): Answer['json'] =>
  told.flatMap((one) => one[kind].changed).findLast((row: { name: string }) => row.name === name);

describe('GET /system/figures', () => {
  it('tells all that there is, then what is new, to each of his own namespaces', async () => {
    gateway = await testGateway(yaml());
    const [all, ofA] = [await figures(tokens.all), await figures(tokens.a)];
    await eventually(() => (all.length > 0 && ofA.length > 0) || undefined);
    expect(all[0].functions.changed.map(({ name }: { name: string }) => name)).toEqual(['echo.a', 'fails.b']);
    expect(all[0].connectors.changed).toMatchObject([{ name: 'http', inFlight: 0 }]);
    expect(all[0].bounds).toContain(0.001);
    expect(ofA[0].functions.changed).toMatchObject([{ name: 'echo.a', state: 'ready', replicas: 1 }]);
    expect(ofA[0].connectors.changed).toEqual([]);

    await ask('/function/fails.b', tokens.all, 'POST');
    await ask('/async-function/fails.b', tokens.all, 'POST');
    await eventually(() => rowOf(all, 'queues', 'fails.b')?.dead || undefined);
    await eventually(() => rowOf(all, 'functions', 'fails.b')?.attempts?.ended === 2 || undefined);
    const { attempts } = rowOf(all, 'functions', 'fails.b');
    expect(attempts).toMatchObject({ running: 0, ended: 2, failed: 2 });
    expect(attempts.buckets.reduce((sum: number, count: number) => sum + count)).toBe(2);
    // What has not changed is not told again.
    expect(all.flatMap((one) => one.functions.changed).filter((row) => row.name === 'echo.a')).toHaveLength(1);
    expect(JSON.stringify(ofA)).not.toContain('fails.b');

    await gateway.reload(yaml().replace(/ {2}fails\.b.*\n/, ''));
    await eventually(() => all.some((one) => one.functions.gone.includes('fails.b')) || undefined);
  });
});

describe('GET /system/invocations', () => {
  it('finds by function and state what was accepted, as its queue knows it, page by page', async () => {
    gateway = await testGateway(yaml());
    const find = async (query: string, token = tokens.all): Promise<Answer['json']> =>
      (await ask(`/system/invocations?${query}`, token)).json;
    for (let index = 0; index < 5; index++) await ask('/async-function/echo.a', tokens.all, 'POST');
    await ask('/async-function/fails.b', tokens.all, 'POST');
    await ask('/function/echo.a', tokens.all, 'POST'); // Nothing is kept of a call whose caller waits.
    const done = await eventually(async () => {
      const { items } = await find('state=succeeded');
      return items.length === 5 ? items : undefined;
    });
    expect(done.map(({ id }: { id: string }) => id)).toEqual(
      done
        .map(({ id }: { id: string }) => id)
        .toSorted()
        .toReversed(),
    );
    const dead = await eventually(async () => (await find('function=fails.b&state=dead')).items[0]);
    expect(dead).toMatchObject({ function: 'fails.b', state: 'dead', errors: [{ attempt: 1, status: 500 }] });
    expect((await find('')).items).toHaveLength(6);
    const first = await find('limit=4');
    const rest = await find(`limit=4&cursor=${first.cursor}`);
    expect([first.items.length, rest.items.length, rest.cursor]).toEqual([4, 2, undefined]);
    expect((await find('', tokens.a)).items.map((one: { function: string }) => one.function)).toEqual(
      Array(5).fill('echo.a'),
    );
    expect((await find('function=fails.b', tokens.a)).items).toEqual([]);
    expect((await ask('/system/invocations?state=odd', tokens.all)).status).toBe(400);
  });

  it('remembers at least the last 5,000, and no more than 10,000', () => {
    const recent = new RecentInvocations();
    const idOf = (index: number): string => String(index).padStart(8, '0');
    for (let index = 0; index < 23_456; index++) {
      recent.seen(idOf(index), index % 2 === 0 ? 'even' : 'odd');
      recent.ended(idOf(index), 'dead');
    }
    const known = recent.list({});
    expect([known.length >= 5000, known.length <= 10_000, known[0]?.id]).toEqual([true, true, idOf(23_455)]);
    expect(recent.list({ function: 'odd', state: 'succeeded' })).toEqual([]);
    expect(recent.list({ function: 'odd', before: idOf(23_000) })[0]?.id).toBe(idOf(22_999));
    recent.ended(idOf(0), 'dead'); // Long forgotten.
    expect(recent.list({ before: idOf(1) })).toEqual([]);
  });
});

describe('GET /system/configuration', () => {
  it('is told without its secrets to who may operate everything, and to nobody else', async () => {
    gateway = await testGateway(yaml());
    const { status, json } = await ask('/system/configuration', tokens.all);
    expect(status).toBe(200);
    expect(json.configuration.functions['echo.a']).toMatchObject({ config: { behaviour: 'echo' } });
    expect(json.configuration.gateway.callbacks.secret).toBe('[redacted]');
    for (const hidden of [secret, ...Object.values(tokens)]) expect(JSON.stringify(json)).not.toContain(hidden);
    const { status: forbidden, json: refusal } = await ask('/system/configuration', tokens.a);
    expect([forbidden, refusal.error.code]).toEqual([403, 'request.forbidden']);
  });

  it('comes with what the lint says of the files that are in force', async () => {
    gateway = await testGateway(yaml());
    const findings = async (): Promise<readonly { code: string; line: number }[]> =>
      (await ask('/system/configuration', tokens.all)).json.findings;
    const codes = (await findings()).map(({ code }) => code);
    expect(codes.filter((code) => code === 'secret-in-file')).toHaveLength(3);
    await gateway.reload(yaml('shutdown: { drain: 1s }').replace(/ {2}callbacks.*\n/, ''));
    await eventually(
      async () => (await findings()).filter(({ code }) => code === 'secret-in-file').length === 2 || undefined,
    );
    // What was not taken up is not in force.
    const { result } = await gateway.reload('functions: 3');
    expect([result, (await findings()).length > 0]).toEqual(['invalid', true]);
  });
});
