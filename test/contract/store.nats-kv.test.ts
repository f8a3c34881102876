import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { sleep } from '../../core/contracts/clock.ts';
import type { Store } from '../../core/contracts/store.ts';
import { storeContract } from '../../core/testing/store-contract.ts';
import natsKv, { natsKvConfig } from '../../plugins/stores/nats-kv/index.ts';
import { type OwnBroker, startBroker } from '../support/brokers.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';
import { movableClock, quietHost } from '../support/quiet-host.ts';
import { dial } from './jetstream-bench.ts';

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

let count = 0;
const newBucket = (): string => `bucket-${++count}`;

async function openOn(on: OwnBroker, bucket: string, clock = movableClock()): Promise<Store> {
  const nats = await dial(on.url);
  cleanups.push(() => nats.stop(1000));
  const store: Store = natsKv.create(natsKvConfig.parse({ bucket }), quietHost(clock, '/', nats));
  cleanups.push(() => store.stop(1000));
  await store.start();
  return store;
}

await describeWithOwnBroker('nats', 'store nats-kv', () => {
  let server: OwnBroker;
  beforeAll(async () => {
    server = await startBroker('nats');
  });
  afterAll(() => server.dispose());
  const open = (bucket: string, clock = movableClock()): Promise<Store> => openOn(server, bucket, clock);

  storeContract(
    async () => {
      const bucket = newBucket();
      const clock = movableClock();
      const store = await open(bucket, clock);
      return {
        store,
        advance: clock.advance,
        reopen: async () => {
          await store.stop(5000);
          return open(bucket, clock);
        },
        crash: async () => {
          await server.kill();
          await server.restart();
          return open(bucket, clock);
        },
        dispose: () => store.stop(5000),
      };
    },
    it,
    { durable: true },
  );

  it('brings nothing to life again when its server is killed right after', async () => {
    const own = await startBroker('nats');
    cleanups.push(() => own.dispose());
    const bucket = newBucket();
    const clock = movableClock();
    const store = await openOn(own, bucket, clock);
    for (const name of ['deleted', 'expired']) {
      await store.put(name, 'first');
      await store.put(name, 'second', name === 'expired' ? { ttlMs: 1000 } : {});
    }
    await store.delete('deleted');
    clock.advance(1000);
    expect(await store.list('', 10)).toEqual([]);
    await own.kill();
    await own.restart();
    expect(await (await openOn(own, bucket, clock)).list('', 10)).toEqual([]);
  });

  it('is the same for all who share a bucket, and lets one of them win', async () => {
    const bucket = newBucket();
    const stores = await Promise.all([open(bucket), open(bucket)]);
    const [one, two] = stores;
    await one?.put('a', '1');
    expect((await two?.get('a'))?.value).toBe('1');
    const won = await Promise.all(
      Array.from({ length: 20 }, async (_, writer) =>
        stores[writer % 2]?.put('slot', String(writer), { ifVersion: 0 }),
      ),
    );
    expect(won.filter((version) => version !== undefined)).toHaveLength(1);
  });

  it('removes from the server what has expired or was deleted', async () => {
    const bucket = newBucket();
    const clock = movableClock();
    const store = await open(bucket, clock);
    for (let index = 0; index < 20; index++) await store.put(`short/${index}`, 'x', { ttlMs: 1000 });
    await store.put('kept', 'x');
    await store.put('deleted', 'x');
    await store.delete('deleted');
    clock.advance(1000);
    expect(await store.list('', 100)).toEqual(['kept']);
    clock.advance(600_000);
    expect(await store.list('', 100)).toEqual(['kept']);
    const nats = await dial(server.url);
    cleanups.push(() => nats.stop(1000));
    const manager = await nats.manager();
    expect((await manager.streams.info(`KV_${bucket}`)).state.messages).toBe(1);
  });

  it('can be read with the usual tools', async () => {
    const bucket = newBucket();
    const store = await open(bucket);
    await store.put('key', 'value');
    const nats = await dial(server.url);
    cleanups.push(() => nats.stop(1000));
    const kv = await nats.client.jetstream().views.kv(bucket);
    expect((await kv.get(`_${Buffer.from('key').toString('base64url')}`))?.string()).toBe('value');
  });

  it('says at once that the broker is away, and works when it is back', async () => {
    const own = await startBroker('nats');
    cleanups.push(() => own.dispose());
    const store = await openOn(own, newBucket());
    await store.put('a', '1');
    await own.kill();
    const begun = performance.now();
    await expect(store.get('a')).rejects.toMatchObject({ code: 'store.unavailable' });
    await expect(store.put('a', '2')).rejects.toMatchObject({ code: 'store.unavailable' });
    await expect(store.list('', 1)).rejects.toMatchObject({ code: 'store.unavailable' });
    expect(performance.now() - begun).toBeLessThan(2000);
    await own.restart();
    const deadline = performance.now() + 10_000;
    let found: string | undefined;
    while (found === undefined && performance.now() < deadline) {
      found = (await store.get('a').catch(() => undefined))?.value;
      await sleep(20);
    }
    expect(found).toBe('1');
  });

  it('names what is different about a bucket that is there', async () => {
    const bucket = newBucket();
    const nats = await dial(server.url);
    cleanups.push(() => nats.stop(1000));
    await nats.client.jetstream().views.kv(bucket, { history: 5, ttl: 1000 });
    await expect(open(bucket)).rejects.toMatchObject({
      code: 'config.invalid',
      message: expect.stringMatching(/max_msgs_per_subject is 5, expected 1.*max_age is 1000000000, expected 0/),
    });
  });
});
