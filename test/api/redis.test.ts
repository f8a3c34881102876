import { randomUUID } from 'node:crypto';
import { expect, it } from 'vitest';
import { request } from 'undici';
import { eventually, testGateway } from '../support/gateway.ts';
import { startBroker } from '../support/brokers.ts';
import { describeWithBroker, describeWithOwnBroker } from '../support/with-broker.ts';

function yaml(url: string, name: string): string {
  return `
connections: { main: { kind: redis, url: "${url}", commandTimeout: 1s } }
queues: { default: { kind: redis, name: ${name} } }
stores: { default: { kind: redis, name: ${name} } }
functions:
  echo: { behaviour: echo }
`;
}

async function call(url: string, method: 'GET' | 'POST', path: string, body?: string): ReturnType<typeof answerOf> {
  return answerOf(await request(`${url}${path}`, { method, ...(body !== undefined && { body }) }));
}

async function answerOf({ statusCode, headers, body }: Awaited<ReturnType<typeof request>>): Promise<{
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly text: string;
}> {
  return { status: statusCode, headers, text: await body.text() };
}

await describeWithBroker('redis', 'a gateway on Redis', (url) => {
  it('says how durable a 202 is, and gives its result, also by another gateway', async () => {
    const name = randomUUID();
    await using one = await testGateway(yaml(url, name));
    await using other = await testGateway(yaml(url, name));
    const accepted = await call(one.url, 'POST', '/async-function/echo', 'hello');
    expect(accepted.status).toBe(202);
    expect(accepted.headers['x-durability']).toMatch(/^(disk|page-cache)$/);
    const id = String(accepted.headers['x-invocation-id']);
    for (const { url: gateway } of [one, other]) {
      expect(await call(gateway, 'GET', `/invocations/${id}/result?wait=20s`)).toMatchObject({
        status: 200,
        text: 'hello',
      });
    }
  });
});

await describeWithOwnBroker('redis', 'a gateway whose Redis goes away', () => {
  it('answers 503 with Retry-After, still calls synchronously, and takes work again by itself', async () => {
    await using server = await startBroker('redis');
    await using gateway = await testGateway(yaml(server.url, randomUUID()));
    const before = await call(gateway.url, 'POST', '/async-function/echo', 'before');
    await server.kill();
    const refused = await call(gateway.url, 'POST', '/async-function/echo', 'meanwhile');
    expect(refused).toMatchObject({ status: 503, headers: { 'retry-after': expect.any(String) } });
    expect(await call(gateway.url, 'POST', '/function/echo', 'now')).toMatchObject({ status: 200, text: 'now' });
    await server.restart();
    const id = await eventually(async () => {
      const { status, headers } = await call(gateway.url, 'POST', '/async-function/echo', 'after');
      return status === 202 ? String(headers['x-invocation-id']) : undefined;
    });
    for (const [each, text] of [
      [String(before.headers['x-invocation-id']), 'before'],
      [id, 'after'],
    ] as const) {
      expect(await call(gateway.url, 'GET', `/invocations/${each}/result?wait=20s`)).toMatchObject({ text });
    }
  });
});
