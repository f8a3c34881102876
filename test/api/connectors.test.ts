import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testGateway, type TestGateway } from '../support/gateway.ts';

const root = join(import.meta.dirname, '../..');
let running: TestGateway;
beforeAll(async () => {
  running = await testGateway(`
gateway: { listen: { port: 0 }, management: { port: 0 } }
functions: { show: { behaviour: show } }
connectors:
  yearly: { kind: cron, schedule: "0 0 1 1 *", function: show }
  hourly: { kind: cron, schedule: "@hourly", function: show, event: { data: { full: true } } }
`);
});
afterAll(() => running[Symbol.asyncDispose]());

const post = async (path: string, data?: unknown) => {
  const { statusCode, body } = await request(`${running.url}${path}`, {
    method: 'POST',
    ...(data !== undefined && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(data) }),
  });
  return { status: statusCode, json: (await body.json()) as never };
};
const millrace = (...args: string[]): Promise<{ code: number; out: string; err: string }> =>
  new Promise((resolve) => {
    const env = { PATH: process.env['PATH'], NO_COLOR: '1' };
    execFile(process.execPath, ['core/main.ts', ...args, '--url', running.url], { cwd: root, env }, (error, out, err) =>
      resolve({ code: error ? Number(error.code) : 0, out, err }),
    );
  });

describe('a cron connector', () => {
  it('is fired by hand, and its function runs', async () => {
    const { status, json } = await post('/system/connectors/yearly/trigger');
    expect(status).toBe(202);
    const [fired] = json as { id: string; duplicate: boolean; at: string }[];
    expect(fired).toMatchObject({ duplicate: false, at: expect.stringMatching(/Z$/) });
    const result = await request(`${running.url}/invocations/${fired?.id}/result?wait=5s`);
    expect(await result.body.json()).toMatchObject({ headers: { 'ce-type': 'millrace.cron.fired' } });
  });

  it('makes up for slots that have passed, each once', async () => {
    const slots = { from: '2026-01-01T00:30:00Z', to: '2026-01-01T05:00:00+01:00' };
    const first = await post('/system/connectors/hourly/backfill', slots);
    expect(first.status).toBe(202);
    expect(first.json).toMatchObject([
      { at: '2026-01-01T01:00:00.000Z', duplicate: false },
      { at: '2026-01-01T02:00:00.000Z', duplicate: false },
      { at: '2026-01-01T03:00:00.000Z', duplicate: false },
      { at: '2026-01-01T04:00:00.000Z', duplicate: false },
    ]);
    const again = await post('/system/connectors/hourly/backfill', slots);
    expect((again.json as { duplicate: boolean }[]).map(({ duplicate }) => duplicate)).toEqual([
      true,
      true,
      true,
      true,
    ]);
  });

  it.each([
    ['/system/connectors/nope/trigger', undefined, 404, 'connector.unknown'],
    ['/system/connectors/yearl/trigger', undefined, 404, 'did you mean'],
    ['/system/connectors/http/trigger', undefined, 409, 'goes by no clock'],
    ['/system/connectors/hourly/backfill', { from: '2026-01-01' }, 400, 'request.invalid'],
    ['/system/connectors/hourly/backfill', { from: '2026-01-02T00:00:00Z', to: '2026-01-01T00:00:00Z' }, 400, 'after'],
    ['/system/connectors/hourly/backfill', { from: '2020-01-01T00:00:00Z', to: '2026-01-01T00:00:00Z' }, 400, '10000'],
  ])('%s with %j is answered %i', async (path, data, expected, text) => {
    const { status, json } = await post(path, data);
    expect(status).toBe(expected);
    expect(JSON.stringify(json)).toContain(text);
  });
});

describe('millrace connectors', () => {
  it('lists them, fires one and makes up for slots', async () => {
    expect((await millrace('connectors')).out).toMatch(/hourly +.*cron +.*running/);
    const fired = await millrace('connectors', 'trigger', 'yearly');
    expect([fired.code, fired.err]).toEqual([0, '']);
    expect(fired.out).toMatch(/[0-9A-Z]{26}/);
    const slots = ['--from', '2025-01-01T00:30:00Z', '--to', '2025-01-01T02:30:00Z'];
    const made = await millrace('connectors', 'backfill', 'hourly', ...slots, '--json');
    expect(JSON.parse(made.out)).toMatchObject([
      { at: '2025-01-01T01:00:00.000Z' },
      { at: '2025-01-01T02:00:00.000Z' },
    ]);
    expect((await millrace('connectors', 'backfill', 'yearly', ...slots)).out).toContain('no slot');
  });
  it('says what is wrong', async () => {
    const { code, err } = await millrace('connectors', 'trigger', 'http');
    expect(code).not.toBe(0);
    expect(err).toContain('goes by no clock');
  });
});
