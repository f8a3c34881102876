import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it, onTestFinished } from 'vitest';
import { startGateway } from '../support/gateway-process.ts';
import { bodies, connectorOf, has, held, KafkaWorld, metric, patient, release } from '../support/kafka-world.ts';
import { holds, ran } from '../support/plugins/inline.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';

await describeWithOwnBroker('kafka', 'connector kafka in a group', () => {
  let world: KafkaWorld;
  beforeAll(async () => {
    world = await KafkaWorld.start();
  }, 120_000);
  afterEach(() => world.tidy());
  afterAll(() => world[Symbol.asyncDispose]());

  it('keeps its partitions for as long as a function runs, ten times its session and more', async () => {
    const topic = await world.newTopic();
    const running = await world.gateway(topic, 'function: held, sessionTimeout: 1s');
    await world.publish(topic, ['long']);
    await held('long');
    await new Promise((resolve) => setTimeout(resolve, 10_500));
    expect(holds).toHaveLength(1);
    expect(await metric(running, 'rebalances_total')).toBe(1);
    release('long');
    await world.done(topic);
    expect(holds).toHaveLength(1);
    expect(await metric(running, 'stale_total')).toBe(0);
  }, 40_000);

  it('loses nothing when gateways come and go while it works', async () => {
    const topic = await world.newTopic(4);
    const first = await world.gateway(topic);
    await has(first, 4);
    await world.publish(topic, bodies(200, 'a'));
    const second = await world.gateway(topic);
    await world.publish(topic, bodies(200, 'b'));
    await Promise.all([has(first, 2), has(second, 2)]);
    await world.publish(topic, bodies(200, 'c'));
    await first.gateway.stop(5000);
    await world.publish(topic, bodies(200, 'd'));
    await has(second, 4);
    await world.done(topic);
    const all = ['a', 'b', 'c', 'd'].flatMap((prefix) => bodies(200, prefix));
    expect(new Set(ran)).toEqual(new Set(all));
    // What was settled was committed before the partitions went.
    expect(ran).toHaveLength(all.length);
  }, 60_000);

  it('lets what it keeps in a rebalance go on, and says nothing more of what it has lost', async () => {
    const topic = await world.newTopic(2);
    const options = 'function: held, drainTimeout: 100ms';
    const first = await world.gateway(topic, options);
    await world.publish(topic, ['zero'], 0);
    await world.publish(topic, ['one'], 1);
    await held('zero', 'one');
    const before = [...holds];
    const second = await world.gateway(topic, options);
    await has(second, 1);
    // One of them runs once more, where its partition is now; the other one goes on.
    await expect.poll(() => holds.length, patient).toBe(3);
    const moved = holds[2]?.body;
    before.find(({ body }) => body === moved)?.release();
    await expect.poll(() => metric(first, 'stale_total'), patient).toBe(1);
    before.find(({ body }) => body !== moved)?.release();
    const [at, kept] = moved === 'zero' ? [0, 1] : [1, 0];
    await expect.poll(async () => (await world.committedOf(topic))[kept], patient).toBe(1);
    expect((await world.committedOf(topic))[at]).toBeLessThanOrEqual(0);
    expect(holds).toHaveLength(3);
    holds[2]?.release();
    await world.done(topic);
    expect(await metric(second, 'stale_total')).toBe(0);
  }, 60_000);

  it('changes nothing at the broker when it wakes up and others have its partition', async () => {
    const topic = await world.newTopic();
    const folder = mkdtempSync(join(tmpdir(), 'millrace-sleeper-'));
    const file = (name: string): string => join(folder, name);
    writeFileSync(
      file('wait.ts'),
      `import { existsSync, writeFileSync } from 'node:fs';
export default async () => {
  writeFileSync('${file('started')}', '');
  while (!existsSync('${file('go')}')) await new Promise((resolve) => setTimeout(resolve, 20));
};`,
    );
    writeFileSync(
      file('millrace.yaml'),
      `gateway: { listen: { port: 0 }, management: { port: 0 } }
connections: { main: { kind: kafka, brokers: "${world.server.url}" } }
queues: { default: { kind: memory, allowVolatile: true } }
stores: { default: { kind: memory } }
functions: { wait: { module: ./wait.ts } }
connectors: { events: { kind: kafka, subscribe: { topics: [${topic}], group: ${topic} }, sessionTimeout: 1s, function: wait } }
`,
    );
    const sleeper = await startGateway(file('millrace.yaml'));
    onTestFinished(async () => {
      sleeper.child.kill('SIGKILL');
      await sleeper.ended;
    });
    await world.publish(topic, ['x']);
    await expect.poll(() => existsSync(file('started')), patient).toBe(true);
    // Where it begins is committed before that.
    await expect.poll(() => world.committedOf(topic), patient).toEqual([0]);
    sleeper.child.kill('SIGSTOP');
    const second = await world.gateway(topic, 'function: held, drainTimeout: 100ms');
    await held('x');
    writeFileSync(file('go'), '');
    sleeper.child.kill('SIGCONT');
    // What it did has ended, and it has been told that it was given up; which of these comes first is anybody's guess.
    const woken = async (): Promise<unknown> => (await connectorOf(sleeper))['settled'];
    await expect.poll(woken, patient).toBe(1);
    await expect.poll(() => sleeper.log.filter((line) => line.includes('joined the')).length, patient).toBe(2);
    // It has come back since, and to no partition: the other one keeps what it has, and what runs there.
    await expect.poll(() => metric(second, 'rebalances_total'), patient).toBe(2);
    expect(await world.committedOf(topic)).toEqual([0]);
    expect(holds).toHaveLength(1);
    release('x');
    await world.done(topic);
  }, 60_000);

  it('finds topics by a regular expression, also those that come later', async () => {
    const first = await world.newTopic();
    await world.publish(first, ['first']);
    const running = await world.gateway(first, 'function: record, refresh: 500ms', { topics: `"/^${first}/"` });
    await has(running, 1);
    const second = `${first}-more`;
    await world.admin.createTopics({ topics: [{ topic: second }], waitForLeaders: true });
    await world.publish(second, ['second']);
    await expect.poll(() => ran, patient).toEqual(['first', 'second']);
  }, 40_000);

  it('refuses a topic that is not there, and a group of others', async () => {
    const missing = await world.gateway('none', undefined, { topics: '[no-such-topic]' });
    expect((await connectorOf(missing))['lastError']).toContain('there is no topic no-such-topic');
    const topic = await world.newTopic();
    const other = world.client.consumer({ groupId: topic });
    await other.connect();
    onTestFinished(() => other.disconnect());
    await other.subscribe({ topics: [topic] });
    const joined = new Promise((resolve) => other.on('consumer.group_join', resolve));
    await other.run({ eachMessage: async () => undefined });
    await joined;
    const running = await world.gateway(topic);
    await expect
      .poll(async () => (await connectorOf(running))['lastError'], patient)
      .toContain(`${topic} is a group of other clients`);
  }, 40_000);

  it('loses nothing and goes on by itself when the broker is killed while it works', async () => {
    const topic = await world.newTopic(2);
    const running = await world.gateway(topic);
    const before = bodies(2000, 'before');
    await world.publish(topic, before);
    await expect.poll(() => ran.length, patient).toBeGreaterThan(0);
    await world.server.kill();
    await expect.poll(async () => (await connectorOf(running))['state'], patient).toBe('reconnecting');
    await world.server.restart();
    const after = bodies(100, 'after');
    await world.publish(topic, after);
    await world.done(topic);
    expect(new Set(ran)).toEqual(new Set([...before, ...after]));
    // What ran and was not committed yet, a second's worth at most, ran once more only if its partition was lost meanwhile.
    await expect.poll(() => connectorOf(running), patient).toMatchObject({ state: 'running', lag: 0 });
  }, 180_000);
});
