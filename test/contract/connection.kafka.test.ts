import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { realpath } from 'node:fs/promises';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { sleep, systemClock } from '../../core/contracts/clock.ts';
import { Kafka } from '../../plugins/connections/kafka/connection.ts';
import { kafkaConfig } from '../../plugins/connections/kafka/index.ts';
import { recipes, startBroker } from '../support/brokers.ts';
import { OwnBroker } from '../support/brokers/own-broker.ts';
import type { Recipe } from '../support/brokers/plan.ts';
import { freePorts } from '../support/brokers/ports.ts';
import { quietHost } from '../support/quiet-host.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';

const plain = 'org.apache.kafka.common.security.plain.PlainLoginModule';
const scram = 'org.apache.kafka.common.security.scram.ScramLoginModule';

const run = promisify(execFile);

/** A broker whose listener PLAINTEXT has SASL in front of it, with a user of each mechanism, and one more with TLS. */
const secure: Recipe = {
  ...recipes.kafka,
  ports: 3,
  plan: async (options) => {
    const { folder, ports, programs } = options;
    const [port, controller, tlsPort] = ports;
    const store = join(folder, 'store.p12');
    const settings = [
      `listeners=PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller},TLS://127.0.0.1:${tlsPort}`,
      `advertised.listeners=PLAINTEXT://127.0.0.1:${port},TLS://127.0.0.1:${tlsPort}`,
      'listener.security.protocol.map=PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT,TLS:SSL',
      'sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512',
      'sasl.mechanism.inter.broker.protocol=PLAIN',
      `listener.name.plaintext.plain.sasl.jaas.config=${plain} required username="admin" password="top" user_admin="top" user_ada="right";`,
      `listener.name.plaintext.scram-sha-512.sasl.jaas.config=${scram} required;`,
      `ssl.keystore.location=${store}`,
      'ssl.keystore.password=store-pass',
      'ssl.keystore.type=PKCS12',
    ];
    await makeCertificate(programs['java'] ?? '', folder, store);
    const plan = await recipes.kafka.plan({ ...options, settings });
    const { first = plan.main } = plan;
    // A user of SCRAM has to be there before the first start.
    const args = [...first.args, '--add-scram', 'SCRAM-SHA-512=[name=grace,password=hopper]'];
    return { ...plan, url: `${plan.url} 127.0.0.1:${tlsPort}`, first: { ...first, args } };
  },
};

/** One that signs itself, for 127.0.0.1, with the tool that comes with Java; and `ca.pem`, which trusts it. */
async function makeCertificate(java: string, folder: string, store: string): Promise<void> {
  const keytool = join(dirname(await realpath(java)), 'keytool');
  const common = ['-alias', 'broker', '-keystore', store, '-storetype', 'PKCS12', '-storepass', 'store-pass'];
  const name = ['-dname', 'CN=broker', '-ext', 'san=ip:127.0.0.1', '-validity', '2'];
  await run(keytool, ['-genkeypair', '-keyalg', 'EC', '-groupname', 'secp256r1', ...name, ...common]);
  await run(keytool, ['-exportcert', '-rfc', '-file', join(folder, 'ca.pem'), ...common]);
}

await describeWithOwnBroker('kafka', 'connection kafka', () => {
  let secured: OwnBroker;
  let open: OwnBroker;
  let saslUrl = '';
  let tlsUrl = '';
  const started: Kafka[] = [];
  beforeAll(async () => {
    [secured, open] = await Promise.all([OwnBroker.start('kafka', secure), startBroker('kafka')]);
    [saslUrl = '', tlsUrl = ''] = secured.url.split(' ');
  }, 120_000);
  afterEach(async () => {
    for (const kafka of started.splice(0)) await kafka.stop();
  });
  afterAll(async () => {
    await Promise.all([secured, open].map((broker) => broker.dispose()));
  });

  async function start(brokers: string | string[], more: Record<string, unknown> = {}): Promise<Kafka> {
    const config = kafkaConfig.parse({ brokers, connectTimeout: '5s', ...more });
    const kafka = new Kafka(config, quietHost(systemClock));
    started.push(kafka);
    await kafka.start();
    return kafka;
  }

  const login = (mechanism: string, username: string, password: string): Record<string, unknown> => ({
    sasl: { mechanism, username, password },
  });
  const invalid = (message: string | RegExp): object => ({
    code: 'config.invalid',
    message: typeof message === 'string' ? expect.stringContaining(message) : expect.stringMatching(message),
  });

  it('logs in by SASL PLAIN, and refuses the start with what is wrong in one sentence', async () => {
    const kafka = await start(saslUrl, login('plain', 'ada', 'right'));
    expect(kafka.health()).toEqual({ state: 'connected', reconnects: 0 });
    expect(await kafka.driver.describeTopic('nothing')).toBeUndefined();
    const begun = performance.now();
    const wrong = start(saslUrl, login('plain', 'ada', 'wr0ng-secret'));
    await expect(wrong).rejects.toMatchObject(
      invalid(/refuses the credentials .*check sasl.username and sasl.password/),
    );
    await expect(wrong).rejects.not.toMatchObject({ message: expect.stringContaining('wr0ng-secret') });
    await expect(start(saslUrl, login('scram-sha-256', 'ada', 'right'))).rejects.toMatchObject(
      invalid('does not take sasl.mechanism scram-sha-256'),
    );
    // No waiting mends it, so there is none.
    expect(performance.now() - begun).toBeLessThan(4000);
  });

  it('logs in by SASL SCRAM', async () => {
    const kafka = await start(saslUrl, login('scram-sha-512', 'grace', 'hopper'));
    expect(kafka.connected).toBe(true);
    expect(await kafka.driver.describeTopic('nothing')).toBeUndefined();
    await expect(start(saslUrl, login('scram-sha-512', 'grace', 'murray'))).rejects.toMatchObject(
      invalid('refuses the credentials'),
    );
  });

  it('says so when the broker has no SASL, or no TLS, or wants what is not given', async () => {
    await expect(start(open.url, login('plain', 'ada', 'right'))).rejects.toMatchObject(invalid('has no SASL'));
    // These two a broker that is just ending may do as well.
    const away = (message: string): object => ({
      code: 'connection.unavailable',
      message: expect.stringContaining(message),
    });
    const quick = { connectTimeout: '1s' };
    await expect(start(open.url, { tls: {}, ...quick })).rejects.toMatchObject(away('does it speak TLS at this port?'));
    await expect(start(saslUrl, quick)).rejects.toMatchObject(away('does it expect sasl or tls?'));
    await expect(start(open.url, { tls: { ca: 'not-there.pem' } })).rejects.toMatchObject(invalid('tls.ca: ENOENT'));
  });

  it('encrypts, and trusts only whom it is told to', async () => {
    const ca = join(secured.folder, 'ca.pem');
    const kafka = await start(tlsUrl, { tls: { ca } });
    expect(await kafka.driver.describeTopic('nothing')).toBeUndefined();
    await expect(start(tlsUrl, { tls: {} })).rejects.toMatchObject(
      invalid(/certificate of the Kafka broker .* is not trusted .*give its authority as tls.ca/),
    );
    await expect(start(tlsUrl, { tls: { ca, servername: 'elsewhere' } })).rejects.toMatchObject(
      invalid('check tls.ca and tls.servername'),
    );
  });

  it('waits for a broker that is away as long as it is told, and goes to another one', async () => {
    const [free = 0] = await freePorts(1);
    const nobody = `127.0.0.1:${free}`;
    const begun = performance.now();
    await expect(start(nobody, { connectTimeout: '1s' })).rejects.toMatchObject({
      code: 'connection.unavailable',
      message: expect.stringMatching(/no Kafka broker at 127\.0\.0\.1:\d+: .*ECONNREFUSED/),
    });
    expect(performance.now() - begun).toBeLessThan(4000);
    expect((await start([nobody, open.url])).connected).toBe(true);
  });

  it('sets no timers of negative length, as the client would by itself after each answer', async () => {
    const warnings: string[] = [];
    const onWarning = ({ name }: Error): void => void warnings.push(name);
    process.on('warning', onWarning);
    try {
      const kafka = await start(open.url);
      for (let round = 0; round < 3; round++) expect(await kafka.driver.describeTopic('nothing')).toBeUndefined();
      await sleep(20);
      expect(warnings).toEqual([]);
      // Node tells of the first one of a process only: this is it, so none went before.
      setTimeout(() => {}, -1);
      await expect.poll(() => warnings).toEqual(['TimeoutNegativeWarning']);
    } finally {
      process.off('warning', onWarning);
    }
  });

  it('gives up at once when the gateway stops while it waits, and closes what it had opened', async () => {
    const sockets: Socket[] = [];
    const mute = createServer((socket) => void sockets.push(socket)).listen(0, '127.0.0.1');
    await once(mute, 'listening');
    const { port } = mute.address() as AddressInfo;
    const stop = new AbortController();
    const host = { ...quietHost(systemClock), signal: stop.signal };
    const kafka = new Kafka(kafkaConfig.parse({ brokers: `127.0.0.1:${port}`, connectTimeout: '30s' }), host);
    const starting = kafka.start();
    const refused = expect(starting).rejects.toMatchObject({ code: 'connection.unavailable' });
    await expect.poll(() => sockets.length).toBe(1);
    const closed = once(sockets[0] ?? mute, 'close');
    sockets[0]?.resume();
    const begun = performance.now();
    stop.abort();
    await refused;
    await closed;
    expect(performance.now() - begun).toBeLessThan(1000);
    expect(sockets).toHaveLength(1);
    mute.close();
  });

  it('goes through a broker that hangs, and says that it is away meanwhile', async () => {
    const kafka = await start(open.url);
    let backs = 0;
    kafka.onBack(() => backs++);
    open.pause();
    await expect.poll(() => kafka.health().state, { timeout: 10_000 }).toBe('reconnecting');
    open.resume();
    await expect.poll(() => backs, { timeout: 10_000 }).toBe(1);
    expect(kafka.health()).toMatchObject({ state: 'connected', reconnects: 1 });
    expect(await kafka.driver.describeTopic('nothing')).toBeUndefined();
  });
});
