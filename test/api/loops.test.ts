import { randomUUID } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'nats';
import { request } from 'undici';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventually, testGateway, type TestGateway } from '../support/gateway.ts';
import { bodyOf, serve } from '../support/http-functions.ts';
import { ran, ranHeaders } from '../support/plugins/inline.ts';
import { describeWithBroker } from '../support/with-broker.ts';

/** A chain of functions must end by itself, whatever links them, and whatever a caller says of it. */

const limit = 3;
const settings = `listen: { port: 0 }, management: { port: 0 }, limits: { depth: ${limit} }`;
const cleanups: (() => PromiseLike<unknown>)[] = [];
beforeEach(() => {
  for (const each of [ran, ranHeaders]) each.length = 0;
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function gatewayOf(yaml: string): Promise<TestGateway> {
  const started = await testGateway(yaml);
  cleanups.push(() => started[Symbol.asyncDispose]());
  return started;
}

interface Letter {
  readonly function: string;
  readonly reason: string;
}

async function lettersOf({ url }: TestGateway): Promise<readonly Letter[]> {
  const { body } = await request(`${url}/system/dead-letters`);
  return ((await body.json()) as { items: Letter[] }).items;
}

async function metricOf({ gateway }: TestGateway, name: string): Promise<Record<string, number>> {
  const { body } = await request(`${gateway.managementUrl}/metrics`);
  const lines = (await body.text()).matchAll(new RegExp(`^${name}\\{function_name="([^"]+)"\\} (\\d+)$`, 'gm'));
  return Object.fromEntries([...lines].map(([, lane = '', count]) => [lane, Number(count)]));
}

/** Waits until nothing waits and nothing runs: what follows from an end is in a queue in the same step. */
async function settled({ url }: TestGateway): Promise<void> {
  await eventually(async () => {
    const rows = (await (await request(`${url}/system/queues`)).body.json()) as Record<string, number>[];
    return rows.every((row) => row['ready'] === 0 && row['delayed'] === 0 && row['leased'] === 0) ? true : undefined;
  });
}

const post = async (url: string, headers: Record<string, string> = {}): Promise<number> => {
  const { statusCode, body } = await request(url, { method: 'POST', headers, body: 'x' });
  await body.dump();
  return statusCode;
};

/** Each fails, and has the next one told. */
const chain = (length: number): string =>
  Array.from({ length }, (_, index) => {
    const next = index + 1 < length ? `, onFailure: [{ function: f${index + 1} }]` : '';
    return `  f${index}: { behaviour: fail, invoke: { retry: once${next} } }`;
  }).join('\n');

describe('a chain of onFailure', () => {
  it('ends at the limit, with a dead letter that says so, and is counted', async () => {
    const gateway = await gatewayOf(`gateway: { ${settings} }\nfunctions:\n${chain(limit + 4)}\n`);
    expect(await post(`${gateway.url}/async-function/f0`)).toBe(202);
    await eventually(async () => ((await lettersOf(gateway)).length >= limit + 2 ? true : undefined));
    await settled(gateway);
    const reasons = (await lettersOf(gateway)).map(({ function: lane, reason }) => `${lane} ${reason}`).toSorted();
    const failed = Array.from({ length: limit + 1 }, (_, index) => `f${index}.openfaas-fn max_attempts`);
    expect(reasons).toEqual([...failed, `f${limit + 1}.openfaas-fn loop`]);
    expect(await metricOf(gateway, 'millrace_followed_total')).toEqual(
      Object.fromEntries(failed.map((line) => [line.split(' ')[0], 1])),
    );
  });

  it('is not cut short by what a caller says of it, nor does the function hear of that', async () => {
    const gateway = await gatewayOf(`
gateway: { ${settings} }
functions:
  works: { behaviour: record, invoke: { onSuccess: [{ function: audit }] } }
  audit: { behaviour: record }
`);
    // With it believed, the audit would be the fourth of a chain, and refused.
    for (const depth of [limit, limit + 1, 9999]) {
      expect(await post(`${gateway.url}/async-function/works`, { 'x-call-depth': String(depth) })).toBe(202);
      expect(await post(`${gateway.url}/function/works`, { 'x-call-depth': String(depth) })).toBe(200);
    }
    await eventually(() => (ran.length === 9 ? true : undefined));
    expect(await lettersOf(gateway)).toEqual([]);
    expect(ranHeaders.some((headers) => 'x-call-depth' in headers)).toBe(false);
  });
});

/** A function whose answer asks for a callback to itself, as one does that answers with the headers it was given. */
const selfish = (url: string): string =>
  `export default () => new Response('again', { headers: { 'x-callback-url': ${JSON.stringify(url)} } });\n`;

describe('a callback', () => {
  it('to the public address of the gateway leads to no other one', async () => {
    const seen: Record<string, unknown>[] = [];
    const folder = mkdtempSync(join(tmpdir(), 'millrace-loop-'));
    const file = join(folder, 'selfish.ts');
    await using proxy = await serve(async (incoming, response) => {
      // What stands in front of the gateway, under a name that it does not know for its own.
      const body = await bodyOf(incoming);
      seen.push(incoming.headers);
      const headers = Object.entries(incoming.headers).flatMap(([name, value]) => {
        return value === undefined || /^(host|connection|content-length)$/.test(name) ? [] : [name, String(value)];
      });
      const passed = await request(`${gateway.url}${incoming.url}`, { method: 'POST', headers, body });
      await passed.body.dump();
      response.writeHead(passed.statusCode).end();
    });
    writeFileSync(file, selfish(`${proxy.url}/async-function/selfish`));
    const gateway: TestGateway = await gatewayOf(`
gateway: { ${settings}, callbacks: { allow: [127.0.0.1] } }
providers: { worker: { kind: worker } }
functions: { selfish: { module: ${file}, provider: worker } }
`);
    const headers = { 'x-callback-url': `${proxy.url}/async-function/selfish` };
    expect(await post(`${gateway.url}/async-function/selfish`, headers)).toBe(202);
    await eventually(() => (seen.length > 0 ? true : undefined));
    await settled(gateway);
    expect(seen).toHaveLength(1);
    expect(seen[0]).toMatchObject({ 'x-call-depth': '1' });
    expect(await metricOf(gateway, 'millrace_followed_total')).toEqual({ 'selfish.openfaas-fn': 1 });
  });
});

await describeWithBroker('nats', 'a reply on the topic that runs the function', (url) => {
  it('ends at the limit, whether the function succeeds or not', async () => {
    for (const behaviour of ['record', 'fail']) {
      const topic = `loop.${randomUUID()}`;
      const gateway = await gatewayOf(`
gateway: { ${settings} }
connections: { main: { kind: nats, servers: "${url}" } }
functions: { again: { behaviour: ${behaviour}, invoke: { retry: once } } }
connectors:
  bus:
    { kind: nats, connection: main, delivery: at-most-once, subjects: [${topic}], function: again,
      reply: { connection: main, to: ${topic} } }
`);
      const connection = await connect({ servers: url });
      connection.publish(topic, 'x');
      await connection.drain();
      await eventually(async () => {
        return (await lettersOf(gateway)).some(({ reason }) => reason === 'loop') ? true : undefined;
      });
      await settled(gateway);
      const runs = await metricOf(gateway, 'gateway_function_invocation_started');
      expect([behaviour, runs['again.openfaas-fn']]).toEqual([behaviour, limit + 1]);
      // The reply that would have been one too many is the dead letter.
      const loops = (await lettersOf(gateway)).filter(({ reason }) => reason === 'loop');
      expect(loops.map(({ function: lane }) => lane)).toEqual(['reply.millrace']);
      expect(await metricOf(gateway, 'millrace_followed_total')).toEqual({ 'again.openfaas-fn': limit + 1 });
    }
  });
});
