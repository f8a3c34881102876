import { join } from 'node:path';
import { request } from 'undici';
import { describe, expect, it } from 'vitest';
import { pino } from 'pino';
import { onStray } from '../../core/host/plugins.ts';
import { eventually, inlinePlugin, startingGateway, testGateway, type TestGateway } from '../support/gateway.ts';
import { LineServer } from '../support/line-server.ts';

const line = join(import.meta.dirname, '../support/plugins/line.ts');
const plugins = [inlinePlugin, line];
const functions = 'functions: { echo: { behaviour: echo } }\n';
const over = (
  port: number,
  more = '',
): string => `${functions}connections: { main: { kind: line, port: ${port}${more} } }
queues: { default: { kind: line-queue } }
stores: { default: { kind: line-store, connection: main } }
`;

const jsonOf = async <T>(url: string): Promise<T> => (await request(url)).body.json() as Promise<T>;
interface Row {
  readonly name: string;
  readonly state: string;
  readonly reconnects: number;
  readonly lastError?: string;
}
const rowOf = async ({ url }: TestGateway): Promise<Row | undefined> =>
  (await jsonOf<Row[]>(`${url}/system/connections`))[0];
const inState = (gateway: TestGateway, state: string): Promise<Row> =>
  eventually(async () => {
    const row = await rowOf(gateway);
    return row?.state === state ? row : undefined;
  });
const metrics = async ({ gateway }: TestGateway): Promise<string> =>
  (await request(`${gateway.managementUrl}/metrics`)).body.text();

describe('a connection', () => {
  it('is there before what works over it and until after that has stopped, and is dialled once for all', async () => {
    await using server = await LineServer.start('hello');
    const gateway = await testGateway(over(server.port), {}, plugins);
    expect(server.connections).toBe(1);
    const answer = await request(`${gateway.url}/async-function/echo`, { method: 'POST' });
    expect(answer.statusCode).toBe(202);
    await gateway[Symbol.asyncDispose]();
    await eventually(() => server.lines.at(-1) === 'connection stopped' || undefined);
    const expected = ['store starts', 'queue starts', 'queue stopped', 'store stopped', 'connection stopped'];
    expect(server.lines).toEqual(expected);
  });

  it('that is lost is told everywhere, and the gateway stays ready for calls', async () => {
    await using server = await LineServer.start('hello');
    await using gateway = await testGateway(over(server.port), {}, plugins);
    expect(await rowOf(gateway)).toEqual({ name: 'main', kind: 'line', state: 'connected', reconnects: 0 });
    expect(await metrics(gateway)).toContain('millrace_connection_up{connection="main"} 1');

    await server.close();
    expect((await inState(gateway, 'reconnecting')).lastError).toBeDefined();
    expect(await metrics(gateway)).toContain('millrace_connection_up{connection="main"} 0');
    const { statusCode, body } = await request(`${gateway.url}/readyz`);
    const connections = [{ name: 'main', kind: 'line', state: 'reconnecting' }];
    expect([statusCode, await body.json()]).toEqual([200, { ready: true, draining: [], failed: [], connections }]);
    const call = await request(`${gateway.url}/function/echo`, { method: 'POST', body: 'alive' });
    expect([call.statusCode, await call.body.text()]).toEqual([200, 'alive']);

    await server.listen();
    expect((await inState(gateway, 'connected')).reconnects).toBe(1);
    expect(await metrics(gateway)).toContain('millrace_connection_reconnects_total{connection="main"} 1');
  });

  it('that is nowhere refuses the start once its time is up, and every one of them is named', async () => {
    const [first, second] = [await LineServer.make('hello'), await LineServer.make('hello')];
    const soon = ', connectTimeout: 500ms';
    const yaml = `${over(first.port, soon)}connectors: {}\n`.replace(
      '} }\nqueues',
      `}, other: { kind: line, port: ${second.port}${soon} } }\nqueues`,
    );
    const starting = testGateway(yaml.replace('line-queue }', 'line-queue, connection: other }'), {}, plugins);
    await expect(starting).rejects.toMatchObject({ code: 'connection.unavailable' });
    await expect(starting).rejects.toThrow(
      new RegExp(`connection "main": .*:${first.port} does not answer.*; connection "other": .*:${second.port} `),
    );
  });

  it('that is waited for is given up when the gateway is stopped', async () => {
    const server = await LineServer.make('hello');
    const { gateway, starting } = await startingGateway(over(server.port, ', connectTimeout: 1h'), {}, plugins);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await Promise.all([gateway.stop(), expect(starting).rejects.toMatchObject({ code: 'connection.unavailable' })]);
  });

  it('that is denied refuses the start at once', async () => {
    await using server = await LineServer.start('denied');
    const starting = testGateway(over(server.port, ', connectTimeout: 1h'), {}, plugins);
    await expect(starting).rejects.toThrow(/connection "main": .* denies access/);
    await expect(starting).rejects.toMatchObject({ code: 'config.invalid' });
  });
});

describe('a connection whose plugin is broken', () => {
  it.each(['health', 'timer'])('at %s is marked failed, and what uses it is not', async (breaks) => {
    const unblamed: unknown[] = [];
    const stray = (error: unknown): void => {
      if (!onStray(error, pino({ level: 'silent' }))) unblamed.push(error);
    };
    const before = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException').on('uncaughtException', stray);
    try {
      await using server = await LineServer.start('hello');
      await using gateway = await testGateway(over(server.port, `, breaks: ${breaks}`), {}, plugins);
      expect((await inState(gateway, 'failed')).lastError).toContain('went wrong');
      const { statusCode, body } = await request(`${gateway.url}/readyz`);
      expect([statusCode, ((await body.json()) as { failed: unknown }).failed]).toEqual([
        503,
        [{ name: 'main', kind: 'line' }],
      ]);
      expect(unblamed).toEqual([]);
    } finally {
      process.removeAllListeners('uncaughtException');
      for (const listener of before) process.on('uncaughtException', listener);
    }
  });

  it('at its start is left out with all that works over it, and the gateway lives', async () => {
    await using server = await LineServer.start('hello');
    await using gateway = await testGateway(over(server.port, ', breaks: start'), {}, plugins);
    const { failed } = await jsonOf<{ failed: { name: string }[] }>(`${gateway.url}/readyz`);
    expect(failed.map(({ name }) => name)).toEqual(['main', 'default', 'default']);
    const call = await request(`${gateway.url}/function/echo`, { method: 'POST', body: 'alive' });
    expect(await call.body.text()).toBe('alive');
  });
});
