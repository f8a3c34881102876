import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { storeContract } from '../../core/testing/store-contract.ts';
import type { RedisConnection } from '../../plugins/connections/redis/connection.ts';
import { redisStoreConfig } from '../../plugins/stores/redis/index.ts';
import { RedisStore } from '../../plugins/stores/redis/store.ts';
import { movableClock, quietHost } from '../support/quiet-host.ts';
import { describeWithBroker } from '../support/with-broker.ts';
import { redisConnection } from './redis-bench.ts';

let connection: RedisConnection;

async function open(name: string, clock: ReturnType<typeof movableClock>): Promise<RedisStore> {
  const store = new RedisStore(redisStoreConfig.parse({ name }), quietHost(clock, '/', connection), () => clock.now());
  await store.start();
  return store;
}

await describeWithBroker('redis', 'store redis', (url) => {
  beforeAll(async () => {
    connection = redisConnection(url);
    await connection.start();
  });
  afterAll(() => connection.stop());

  storeContract(
    async () => {
      const name = randomUUID();
      const clock = movableClock();
      const store = await open(name, clock);
      return {
        store,
        advance: clock.advance,
        reopen: async () => {
          await store.stop(5000);
          return open(name, clock);
        },
        // The server is another process: nothing of this one is needed to find what was put.
        crash: () => open(name, clock),
        dispose: () => store.stop(5000),
      };
    },
    it,
    { durable: true },
  );

  it('forgets by the clock of the server, and lists no more what it forgot', async () => {
    const store = new RedisStore(
      redisStoreConfig.parse({ name: randomUUID() }),
      quietHost(movableClock(), '/', connection),
    );
    await store.start();
    await store.put('short', 'x', { ttlMs: 50 });
    await store.put('long', 'x', { ttlMs: 60_000 });
    await expect.poll(() => store.get('short'), { timeout: 10_000 }).toBeUndefined();
    expect(await store.list('', 10)).toEqual(['long']);
    await store.stop(1000);
  });

  it('lists past any number of records that have expired', async () => {
    const clock = movableClock();
    const name = randomUUID();
    const store = await open(name, clock);
    await Promise.all(Array.from({ length: 1200 }, (_, index) => store.put(`k${index}`, 'x', { ttlMs: 3_600_000 })));
    await store.put('z', 'x');
    clock.advance(3_600_000);
    expect(await store.list('', 10)).toEqual(['z']);
    await store.stop(1000);
  });

  it('is refused when a newer release wrote it', async () => {
    const name = randomUUID();
    await (await open(name, movableClock())).stop(1000);
    await connection.client.hset(`millrace:{store:${name}}:meta`, 'format', 99);
    await expect(open(name, movableClock())).rejects.toMatchObject({
      code: 'store.unavailable',
      message: expect.stringContaining('newer release'),
    });
  });

  it('shares records and versions between gateways', async () => {
    const name = randomUUID();
    const clock = movableClock();
    const [one, other] = [await open(name, clock), await open(name, clock)];
    const version = await one.put('slot', 'one', { ifVersion: 0 });
    expect(await other.put('slot', 'other', { ifVersion: 0 })).toBeUndefined();
    expect(await other.put('slot', 'other', { ifVersion: version })).toBeTypeOf('number');
    expect((await one.get('slot'))?.value).toBe('other');
  });
});
