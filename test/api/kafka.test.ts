import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { type OwnBroker, startBroker } from '../support/brokers.ts';
import { eventually, testGateway } from '../support/gateway.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';

const yaml = (broker: string, queue: string): string => `
connections:
  main: { kind: kafka, brokers: "${broker}" }
queues:
  default: { kind: kafka, topics: "${queue}" }
functions:
  echo: { provider: inline, behaviour: echo }
  fail: { provider: inline, behaviour: fail, invoke: { retry: { attempts: 1 } } }
`;

await describeWithOwnBroker('kafka', 'gateways on Kafka', () => {
  let broker: OwnBroker;
  const cleanups: (() => PromiseLike<unknown>)[] = [];
  beforeAll(async () => {
    broker = await startBroker('kafka');
  }, 120_000);
  afterAll(() => broker.dispose());
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  });

  async function gateway(queue: string): Promise<string> {
    const started = await testGateway(yaml(broker.url, queue));
    cleanups.push(() => started[Symbol.asyncDispose]());
    return started.url;
  }

  it('accept, run, keep the result and the dead letter, whichever of them is asked', async () => {
    const [one, two] = [await gateway('pair'), await gateway('pair')];
    const ids: string[] = [];
    for (let index = 0; index < 20; index++) {
      const answer = await fetch(`${one}/async-function/echo`, { method: 'POST', body: `body ${index}` });
      expect(answer.status).toBe(202);
      expect(answer.headers.get('x-durability')).toBe('page-cache');
      ids.push(answer.headers.get('x-invocation-id') ?? '');
    }
    for (const [index, id] of ids.entries()) {
      const result = await fetch(`${two}/invocations/${id}/result?wait=10s`);
      expect([result.status, await result.text()]).toEqual([200, `body ${index}`]);
    }
    const failed = await fetch(`${one}/async-function/fail`, { method: 'POST', body: 'kept' });
    const id = failed.headers.get('x-invocation-id') ?? '';
    await eventually(async () => {
      const state = (await (await fetch(`${two}/invocations/${id}`)).json()) as { state: string };
      return state.state === 'dead' || undefined;
    });
    expect(await (await fetch(`${two}/system/dead-letters`)).text()).toContain(id);
  });

  it('answer 503 with Retry-After while the broker is away, and go on when it is back', async () => {
    const url = await gateway('single');
    const accept = (): Promise<Response> => fetch(`${url}/async-function/echo`, { method: 'POST', body: 'x' });
    expect((await accept()).status).toBe(202);
    await broker.kill();
    await eventually(async () => (await accept()).status === 503 || undefined);
    const begun = performance.now();
    const refused = await accept();
    expect(refused.status).toBe(503);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(performance.now() - begun).toBeLessThan(1000);
    // What needs no queue goes on.
    expect(await (await fetch(`${url}/function/echo`, { method: 'POST', body: 'sync' })).text()).toBe('sync');
    await broker.restart();
    const since = performance.now();
    const accepted = await eventually(async () => {
      const answer = await accept();
      return answer.status === 202 ? answer : undefined;
    });
    const id = accepted.headers.get('x-invocation-id');
    const result = await fetch(`${url}/invocations/${id}/result?wait=10s`);
    expect([result.status, await result.text()]).toEqual([200, 'x']);
    expect(performance.now() - since).toBeLessThan(10_000);
  }, 60_000);
});
