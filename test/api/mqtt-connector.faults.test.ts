import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { sleep } from '../../core/contracts/clock.ts';
import type { TestGateway } from '../support/gateway.ts';
import {
  all,
  bodiesOf,
  cleanUp,
  connectorOf,
  counted,
  gateway,
  inState,
  isSaved,
  listening,
  publish,
  setUp,
  startRedis,
} from '../support/mqtt-world.ts';
import { ran } from '../support/plugins/inline.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';

afterEach(cleanUp);

await describeWithOwnBroker('mqtt', 'connector mqtt, when things go wrong', () => {
  describe.each(['5', '3.1.1'])('of version %s', (version) => {
    it.each([1, 2] as const)(
      'keeps those of QoS %i at the broker while the queue is away, and stays connected',
      async (qos) => {
        const { broker, sender } = await setUp();
        const redis = await startRedis();
        const subscribe = `{ topic: "jobs/#", qos: ${qos} }`;
        const options = { version, subscribe, redis, connection: ', keepalive: 1s' };
        const running = await listening(broker, options);
        await redis.kill();
        const bodies = bodiesOf(60);
        await publish(sender, bodies, { qos });
        await expect.poll(() => counted(running, 'received_total')).toBeGreaterThan(0);
        // Three times as long as the broker would wait for a word of ours.
        await sleep(4500);
        expect(await counted(running, 'acknowledged_total')).toBe(0);
        expect(await connectorOf(running)).toMatchObject({ state: 'running', reconnects: 0 });
        await redis.restart();
        await all(bodies, 30_000);
        expect(await connectorOf(running)).toMatchObject({ reconnects: 0 });
        expect(await counted(running, 'redelivered_total')).toBe(0);
      },
      60_000,
    );

    it('hands nothing back that was not safe when it stops, so that the next one has it', async () => {
      const { broker, sender } = await setUp();
      const redis = await startRedis();
      for (const qos of [1, 2] as const) {
        ran.length = 0;
        const options = { version, subscribe: `{ topic: "jobs/#", qos: ${qos} }` };
        const first = await listening(broker, { ...options, redis });
        await redis.kill();
        const bodies = bodiesOf(30, `q${qos}`);
        await publish(sender, bodies, { qos });
        await expect.poll(() => counted(first, 'received_total')).toBeGreaterThan(0);
        await first.gateway.stop(0);
        const second = await gateway(broker, options);
        await all(bodies);
        await expect.poll(() => counted(second, 'acknowledged_total')).toBe(30);
        await second.gateway.stop(1000);
        await redis.restart();
      }
    }, 60_000);

    it('knows what is at work when the broker gives it again after a kill -9, and runs it once', async () => {
      const { broker, sender } = await setUp();
      const redis = await startRedis();
      const running = await listening(broker, { version, redis });
      await redis.kill();
      const bodies = bodiesOf(15);
      await publish(sender, bodies);
      await expect.poll(() => counted(running, 'received_total')).toBe(15);
      await isSaved(broker, sender);
      await broker.kill();
      await inState(running, 'reconnecting');
      await broker.restart();
      await inState(running, 'running');
      await expect.poll(() => counted(running, 'redelivered_total')).toBe(15);
      await redis.restart();
      await all(bodies, 30_000);
      await expect.poll(() => counted(running, 'acknowledged_total')).toBe(15);
      expect(ran.toSorted()).toEqual(bodies.toSorted());
      expect(await counted(running, 'stale_total')).toBe(0);
    }, 60_000);

    it('loses nothing that the broker had confirmed and saved when that is killed while it works', async () => {
      const { broker, sender } = await setUp();
      const running = await listening(broker, { version });
      const bodies = bodiesOf(300, 'before');
      await publish(sender, bodies);
      await isSaved(broker, sender);
      await broker.kill();
      await inState(running, 'reconnecting');
      await broker.restart();
      await publish(sender, ['after']);
      await expect.poll(() => ran.includes('after'), { timeout: 10_000 }).toBe(true);
      for (const body of bodies) expect(ran).toContain(body);
      expect((await connectorOf(running))['reconnects']).toBeGreaterThan(0);
    });

    it('subscribes again to what is shared, which Mosquitto forgets when it ends', async () => {
      const { broker, sender } = await setUp();
      const running = await listening(broker, {
        version,
        subscribe: '{ topic: "jobs/#", share: g }, { topic: kept, retain: deliver }',
      });
      await sender.publishAsync('kept', 'kept', { qos: 1, retain: true });
      await all(['kept']);
      await expect.poll(() => counted(running, 'acknowledged_total')).toBe(1);
      await isSaved(broker, sender);
      await broker.restart();
      await expect.poll(async () => (await connectorOf(running))['reconnects'], { timeout: 10_000 }).toBe(1);
      await inState(running, 'running');
      await publish(sender, ['after']);
      // And what is retained does not come once more.
      await all(['kept', 'after']);
    });

    it('subscribes again when the broker has lost the session, and counts that', async () => {
      const { broker, sender } = await setUp();
      const running = await listening(broker, { version });
      await broker.kill();
      for (const file of readdirSync(broker.folder)) if (file.endsWith('.db')) rmSync(join(broker.folder, file));
      await broker.restart();
      await expect.poll(() => counted(running, 'sessions_lost_total'), { timeout: 10_000 }).toBe(1);
      await inState(running, 'running');
      await publish(sender, ['again']);
      await all(['again']);
    });
  });

  it('outlasts its keep-alive ten times without a disconnect, whatever its function does', async () => {
    const { broker, sender } = await setUp();
    const connection = ', keepalive: 1s';
    const enqueued = await listening(broker, { connector: 'function: never', connection });
    const slow = { connector: 'function: never, ack: processed', connection, clientId: 'slow' };
    const processed = await listening(broker, slow);
    await publish(sender, bodiesOf(5));
    await expect.poll(() => counted(enqueued, 'acknowledged_total')).toBe(5);
    await expect.poll(async () => (await connectorOf(processed))['inFlight']).toBe(5);
    await sleep(10_500);
    for (const [running, settled] of [
      [enqueued, 5],
      [processed, 0],
    ] as const) {
      expect(await connectorOf(running)).toMatchObject({ state: 'running', reconnects: 0, settled });
      expect(await counted(running, 'redelivered_total')).toBe(0);
    }
  }, 30_000);

  it('leaves a broker that gives more than may be unsettled, and comes back when there is room', async () => {
    const { broker, sender } = await setUp('max_inflight_messages 0');
    const redis = await startRedis();
    const connection = ', keepalive: 2s, session: { receiveMaximum: 5 }';
    const options = { version: '3.1.1', connection };
    await (await listening(broker, options)).gateway.stop(1000);
    const bodies = bodiesOf(100);
    await publish(sender, bodies);
    const running = await listening(broker, { ...options, redis });
    await redis.kill();
    const more = bodiesOf(100, 'm');
    await publish(sender, more);
    await inState(running, 'reconnecting');
    await redis.restart();
    await expect.poll(() => new Set(ran).size, { timeout: 30_000 }).toBe(200);
    expect(new Set(ran)).toEqual(new Set([...bodies, ...more]));
    await inState(running, 'running');
  }, 60_000);

  it('warns of messages that the broker has dropped', async () => {
    const { broker, sender } = await setUp('max_queued_messages 10', 'sys_interval 1');
    await (await listening(broker)).gateway.stop(1000);
    await publish(sender, bodiesOf(100));
    const running = await listening(broker);
    await expect.poll(() => counted(running, 'broker_dropped'), { timeout: 15_000 }).toBeGreaterThan(0);
    expect(ran.length).toBeLessThan(100);
  }, 30_000);

  it('says so when two gateways have one name', async () => {
    const { broker } = await setUp();
    const one = await listening(broker);
    const two = await gateway(broker);
    const said = async (running: TestGateway): Promise<string> => String((await connectorOf(running))['lastError']);
    await expect
      .poll(async () => [await said(one), await said(two)].join(), { timeout: 15_000 })
      .toContain('another client has the same clientId');
  });
});
