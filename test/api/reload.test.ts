import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { request } from 'undici';
import { afterEach, describe, expect, it } from 'vitest';
import { eventually, inlinePlugin, testGateway, type TestGateway } from '../support/gateway.ts';
import { ran } from '../support/plugins/inline.ts';

const hostile = join(import.meta.dirname, '../support/plugins/hostile.ts');
let running: TestGateway | undefined;
afterEach(async () => {
  await running?.[Symbol.asyncDispose]();
  running = undefined;
});

const listen = 'listen: { port: 0 }, management: { port: 0 }';
const top = `gateway: { ${listen} }\n`;
const web = (routes: string): string => `connectors: { web: { kind: http, routes: [${routes}] } }\n`;
const functions =
  'functions: { echo: { behaviour: echo }, slow: { behaviour: slow }, record: { behaviour: record } }\n';

async function start(yaml: string, plugins: readonly string[] = [inlinePlugin]): Promise<TestGateway> {
  running = await testGateway(yaml, {}, plugins);
  ran.length = 0;
  return running;
}
const statusOf = async ({ url }: TestGateway, path: string, body = 'x'): Promise<number> => {
  const answer = await request(`${url}${path}`, { method: 'POST', body });
  await answer.body.dump();
  return answer.statusCode;
};
const jsonOf = async ({ url }: TestGateway, path: string): Promise<never> =>
  (await (await request(`${url}${path}`)).body.json()) as never;
const connectorOf = async (gateway: TestGateway, name: string): Promise<Record<string, unknown>> =>
  ((await jsonOf(gateway, '/system/connectors')) as Record<string, unknown>[]).find((row) => row['name'] === name) ??
  {};
const metricsOf = async ({ gateway }: TestGateway): Promise<string> =>
  (await request(`${gateway.managementUrl}/metrics`)).body.text();
const inFlight = (gateway: TestGateway, name: string, count: number): Promise<true> =>
  eventually(async () => ((await connectorOf(gateway, name))['inFlight'] === count ? true : undefined));

describe('what did not change', () => {
  it('keeps its calls in flight, and goes on as the same', async () => {
    const routes = web('{ path: /one, function: slow }, { path: /held, function: never }');
    const before = functions.replace('echo }', 'echo }, never: { behaviour: never, invoke: { timeout: 1m } }');
    const gateway = await start(`${top}${before}${routes}`);
    const held = new AbortController();
    const call = request(`${gateway.url}/held`, { method: 'POST', body: 'x', signal: held.signal });
    await inFlight(gateway, 'web', 1);
    const answered = statusOf(gateway, '/one');
    const after = before.replace('echo }', 'echo }, more: { behaviour: echo }');
    const { result, changes } = await gateway.reload(`${top}${after}${routes}`);
    expect([result, changes]).toEqual(['ok', 'functions.more.openfaas-fn added']);
    expect(await answered).toBe(200);
    await expect.poll(() => connectorOf(gateway, 'web')).toMatchObject({ inFlight: 1, settled: 1 });
    expect(await statusOf(gateway, '/function/more')).toBe(200);
    held.abort();
    await expect(call).rejects.toThrow();
    await inFlight(gateway, 'web', 0);
  });

  it('is all of it, when the file says the same', async () => {
    const yaml = `${top}${functions}`;
    const gateway = await start(yaml);
    expect(await gateway.reload(`${yaml}# a comment\n`)).toEqual({
      result: 'ok',
      reasons: [],
      changes: 'nothing has changed',
    });
  });
});

describe('a connector with routes that changes', () => {
  it('answers what it has in flight, and then the new one answers', async () => {
    const gateway = await start(`${top}${functions}${web('{ path: /one, function: slow }')}`);
    const call = statusOf(gateway, '/one');
    await inFlight(gateway, 'web', 1);
    const { result } = await gateway.reload(`${top}${functions}${web('{ path: /two, function: echo }')}`);
    expect(result).toBe('ok');
    expect(await call).toBe(200);
    expect([await statusOf(gateway, '/one'), await statusOf(gateway, '/two')]).toEqual([404, 200]);
    expect(await statusOf(gateway, '/function/echo')).toBe(200);
    expect(await connectorOf(gateway, 'web')).toMatchObject({ state: 'running', settled: 2 });
  });

  it('drops no call, however often it changes', async () => {
    const yaml = (n: number): string =>
      `${top}${functions}${web(`{ path: /same, function: echo }, { path: /n${n}, function: echo }`)}`;
    const gateway = await start(yaml(0));
    const done = new AbortController();
    const statuses: number[] = [];
    const callers = Array.from({ length: 8 }, async () => {
      while (!done.signal.aborted) statuses.push(await statusOf(gateway, '/same'));
    });
    for (let n = 1; n <= 20; n++) {
      expect((await gateway.reload(yaml(n))).result).toBe('ok');
      expect([await statusOf(gateway, `/n${n}`), await statusOf(gateway, `/n${n - 1}`)]).toEqual([200, 404]);
    }
    done.abort();
    await Promise.all(callers);
    expect(statuses.length).toBeGreaterThan(20);
    expect(statuses.filter((status) => status !== 200)).toEqual([]);
  });

  it('may be one more, or be gone', async () => {
    const gateway = await start(`${top}${functions}`);
    const routes = '[{ path: /one, function: echo }]';
    const more = `connectors: { http: { kind: http }, web: { kind: http, functions: false, routes: ${routes} } }`;
    expect((await gateway.reload(`${top}${functions}${more}`)).result).toBe('ok');
    expect([await statusOf(gateway, '/one'), await statusOf(gateway, '/function/echo')]).toEqual([200, 200]);
    expect((await gateway.reload(`${top}${functions}`)).result).toBe('ok');
    expect([await statusOf(gateway, '/one'), await statusOf(gateway, '/function/echo')]).toEqual([404, 200]);
    expect(await connectorOf(gateway, 'web')).toEqual({});
  });

  it('is refused where another one has its routes, or the gateway itself', async () => {
    const gateway = await start(`${top}${functions}`);
    const both = 'connectors: { http: { kind: http }, web: { kind: http } }\n';
    const { result, reasons } = await gateway.reload(`${top}${functions}${both}`);
    expect([result, reasons]).toEqual(['failed', [expect.stringMatching(/"web" cannot answer .* \/function\/\*/)]]);
    expect(await statusOf(gateway, '/function/echo')).toBe(200);
    expect(await connectorOf(gateway, 'web')).toEqual({});
    expect(await statusOf(gateway, '/readyz')).toBe(404);
    expect((await request(`${gateway.url}/readyz`)).statusCode).toBe(200);
  });
});

describe('functions', () => {
  it('are added, changed and removed while their queued work stays', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-reload-'));
    const queues = `queues: { default: { kind: sqlite, path: ${folder}/queue.db } }\n`;
    const quick = 'policies: { retry: { standard: { backoff: { kind: fixed, initial: 50ms, jitter: none } } } }\n';
    const gateway = await start(`${top}${queues}${quick}${functions}`);
    expect(
      (await gateway.reload(`${top}${queues}${quick}${functions.replace(', record: { behaviour: record }', '')}`))
        .result,
    ).toBe('ok');
    expect(await statusOf(gateway, '/function/record')).toBe(404);
    expect((await gateway.reload(`${top}${queues}${quick}${functions}`)).result).toBe('ok');
    expect(await statusOf(gateway, '/async-function/record', 'kept')).toBe(202);
    await expect.poll(() => ran).toEqual(['kept']);
    const delayed = await request(`${gateway.url}/async-function/record`, {
      method: 'POST',
      body: 'later',
      headers: { 'x-delay': '300ms' },
    });
    expect(delayed.statusCode).toBe(202);
    expect(
      (
        await gateway.reload(
          `${top}${queues}${quick}${functions.replace('record: { behaviour: record }', 'other: { behaviour: echo }')}`,
        )
      ).result,
    ).toBe('ok');
    const rows = (await jsonOf(gateway, '/system/queues')) as Record<string, unknown>[];
    expect(JSON.stringify(rows)).toContain('record');
    expect((await gateway.reload(`${top}${queues}${quick}${functions}`)).result).toBe('ok');
    await expect.poll(() => ran, { timeout: 10_000 }).toEqual(['kept', 'later']);
  });

  it('get other rules without being deployed anew', async () => {
    const gateway = await start(`${top}functions: { never: { behaviour: never, invoke: { timeout: 1m } } }\n`);
    const quick = `${top}functions: { never: { behaviour: never, invoke: { timeout: 50ms } } }\n`;
    const { changes } = await gateway.reload(quick);
    expect(changes).toBe('functions.never.openfaas-fn policy changed');
    expect(await statusOf(gateway, '/function/never')).toBe(504);
  });

  it('move to a provider that changed, while their calls go on', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-reload-'));
    const module = join(import.meta.dirname, '../fixtures/functions/slow.ts');
    const yaml = (memory: string): string =>
      `${top}providers: { worker: { kind: worker, memory: ${memory}, watch: false } }
functions: { slow: { module: ${module} } }
queues: { default: { kind: sqlite, path: ${folder}/queue.db } }
`;
    const gateway = await start(yaml('64MiB'));
    expect(await statusOf(gateway, '/function/slow', '1')).toBe(200);
    const call = statusOf(gateway, '/function/slow', '500');
    await inFlight(gateway, 'http', 1);
    const { result, changes } = await gateway.reload(yaml('96MiB'));
    expect([result, changes]).toEqual(['ok', 'providers.worker changed, functions.slow.openfaas-fn changed']);
    expect([await call, await statusOf(gateway, '/function/slow', '1')]).toEqual([200, 200]);
    const missing = await gateway.reload(yaml('96MiB').replace('slow.ts', 'not-there.ts'));
    expect(missing).toMatchObject({ result: 'failed', reasons: [expect.stringContaining('there is no file')] });
    expect(await statusOf(gateway, '/function/slow', '1')).toBe(200);
  });
});

describe('a reload that cannot be', () => {
  it.each([
    ['an invalid file', `${top}functions: { echo: { behavior: echo } }\n`, 'invalid', 'did you mean "behaviour"'],
    ['no YAML', `${top}functions: { echo: [`, 'invalid', 'YAML'],
    [
      'another address',
      `gateway: { listen: { port: 1 }, management: { port: 0 } }\n${functions}`,
      'needs-restart',
      'gateway.listen is read',
    ],
    [
      'another queue',
      `${top}${functions}queues: { default: { kind: memory, allowVolatile: true, limits: { messages: 3 } } }\n`,
      'needs-restart',
      'queues.default has changed',
    ],
  ])('because of %s changes nothing, and says why', async (_why, yaml, result, reason) => {
    const gateway = await start(`${top}${functions}`);
    const outcome = await gateway.reload(yaml);
    expect(outcome.result).toBe(result);
    expect(outcome.reasons.join('\n')).toContain(reason);
    expect([await statusOf(gateway, '/function/echo'), await statusOf(gateway, '/function/record')]).toEqual([
      200, 200,
    ]);
    const metrics = await metricsOf(gateway);
    expect(metrics).toContain(`millrace_config_reloads_total{result="${result}"} 1`);
    expect(metrics).toContain('millrace_config_reloads_total{result="ok"} 0');
    expect((await gateway.reload(`${top}${functions}`)).result).toBe('ok');
    expect(await metricsOf(gateway)).toContain('millrace_config_reloads_total{result="ok"} 1');
  });

  it.each(['connectors', 'stores', 'queues', 'providers'])(
    'because one of its %s does not start brings everything back',
    async (section) => {
      const before = `${top}${functions}providers: { inline: { kind: inline-test } }
queues: { default: { kind: memory, allowVolatile: true } }
stores: { default: { kind: memory } }
${web('{ path: /one, function: echo }')}`;
      const gateway = await start(before, [inlinePlugin, hostile]);
      const bad = section === 'connectors' ? 'bad: { kind: hostile, when: start }' : 'bad: { kind: hostile }';
      const after = before
        .replace(`${section}: {`, `${section}: { ${bad},`)
        .replace('/one', '/two')
        .replace(/(functions: \{.*\}) \}/, '$1, added: { behaviour: echo, provider: inline } }')
        .replaceAll(/behaviour: (echo|slow|record) \}/g, 'behaviour: $1, provider: inline }');
      const { result, reasons } = await gateway.reload(after);
      expect([result, reasons]).toEqual(['failed', [expect.stringContaining('"bad" could not be started')]]);
      expect([await statusOf(gateway, '/one'), await statusOf(gateway, '/two')]).toEqual([200, 404]);
      expect([await statusOf(gateway, '/function/echo'), await statusOf(gateway, '/function/added')]).toEqual([
        200, 404,
      ]);
      expect(await statusOf(gateway, '/async-function/record', section)).toBe(202);
      await expect.poll(() => ran).toContain(section);
      // What was tried is not what runs: it does not make the gateway unready.
      expect((await request(`${gateway.url}/readyz`)).statusCode).toBe(200);
      expect((await gateway.reload(before)).result).toBe('ok');
    },
  );

  it('because the gateway stops lets it stop', async () => {
    const gateway = await start(`${top}${functions}${web('{ path: /one, function: slow }')}`);
    const call = statusOf(gateway, '/one');
    await inFlight(gateway, 'web', 1);
    const reloading = gateway.reload(`${top}${functions}${web('{ path: /two, function: slow }')}`);
    await gateway.gateway.stop(5000);
    expect(await call).toBe(200);
    expect(['ok', 'failed']).toContain((await reloading).result);
    expect((await gateway.reload(`${top}${functions}`)).result).toBe('failed');
  });
});

describe('what takes effect at once', () => {
  it('is a queue that is added, with its work', async () => {
    const gateway = await start(`${top}${functions}`);
    const yaml = `${top}${functions.replace('record }', 'record, invoke: { queue: second } }')}queues: { default: { kind: memory, allowVolatile: true }, second: { kind: memory, allowVolatile: true } }\n`;
    expect((await gateway.reload(yaml)).result).toBe('ok');
    expect(await statusOf(gateway, '/async-function/record', 'second')).toBe(202);
    await expect.poll(() => ran).toEqual(['second']);
  });

  it('is the password', async () => {
    const gateway = await start(`${top}${functions}`);
    expect((await request(`${gateway.url}/system/functions`)).statusCode).toBe(200);
    const yaml = `gateway: { ${listen}, auth: { basic: { user: admin, password: "secret-one" } } }\n${functions}`;
    expect((await gateway.reload(yaml)).result).toBe('ok');
    expect((await request(`${gateway.url}/system/functions`)).statusCode).toBe(401);
    const authorization = `Basic ${Buffer.from('admin:secret-one').toString('base64')}`;
    const { statusCode } = await request(`${gateway.url}/system/functions`, { headers: { authorization } });
    expect(statusCode).toBe(200);
  });

  it('is told as an event', async () => {
    const gateway = await start(`${top}${functions}`);
    const stream = await request(`${gateway.url}/system/events?type=config.reloaded,config.reload-failed`);
    let text = '';
    stream.body.on('data', (chunk: Buffer) => (text += chunk.toString()));
    await expect.poll(() => text).toContain('millrace events');
    await gateway.reload(`${top}functions: { echo: { behaviour: nope } }\n`);
    await gateway.reload(`${top}functions: { echo: { behaviour: echo } }\n`);
    await expect.poll(() => text).toMatch(/event: config\.reload-failed[^]*event: config\.reloaded/);
    stream.body.destroy();
  });
});
