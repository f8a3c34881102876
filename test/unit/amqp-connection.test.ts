import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { sleep, systemClock } from '../../core/contracts/clock.ts';
import { Amqp } from '../../plugins/connections/amqp/connection.ts';
import { amqpConnectionConfig } from '../../plugins/connections/amqp/index.ts';
import { dial } from '../contract/amqp-bench.ts';
import { BrokerMissing, type OwnBroker, startBroker } from '../support/brokers.ts';
import { freePorts } from '../support/brokers/ports.ts';
import { quietHost } from '../support/quiet-host.ts';
import { rabbitmqctl } from '../support/rabbitmqctl.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';

let server: OwnBroker;
let tlsPort = 0;
const folder = mkdtempSync(join(tmpdir(), 'millrace-amqp-tls-'));
const cleanups: (() => unknown)[] = [];
beforeAll(async () => {
  for (const name of ['ca', 'other']) {
    const subject = ['-subj', '/CN=millrace-test', '-addext', 'subjectAltName=DNS:millrace-test'];
    const files = ['-keyout', join(folder, `${name}.key`), '-out', join(folder, `${name}.pem`)];
    execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', ...subject, ...files], {
      stdio: 'ignore',
    });
  }
  [tlsPort = 0] = await freePorts(1);
  const settings = [
    `listeners.ssl.1 = 127.0.0.1:${tlsPort}`,
    `ssl_options.cacertfile = ${join(folder, 'ca.pem')}`,
    `ssl_options.certfile = ${join(folder, 'ca.pem')}`,
    `ssl_options.keyfile = ${join(folder, 'ca.key')}`,
  ];
  server = await startBroker('amqp', { settings }).catch((error: unknown) => {
    // Then the suite below is skipped, and says why.
    if (error instanceof BrokerMissing) return undefined as never;
    throw error;
  });
}, 100_000);
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});
afterAll(async () => {
  await server?.dispose();
  rmSync(folder, { recursive: true });
});

function connection(settings: object): Amqp {
  const made = new Amqp(amqpConnectionConfig.parse(settings), quietHost(systemClock));
  cleanups.push(() => made.stop(1000));
  return made;
}

async function until(holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error('it did not come to be within 30 s');
    await sleep(20);
  }
}

/** Between a client and a broker. */
class Proxy {
  /** Of the next two connections the second is refused, and the first hears nothing more: of its end, or of anything. */
  fault: 'dies' | 'falls silent' | undefined;
  /** How often that was done. */
  faults = 0;
  readonly #server: Server;
  readonly #pairs = new Set<{ readonly client: Socket; readonly broker: Socket }>();

  static async to(url: string): Promise<Proxy> {
    const proxy = new Proxy(Number(new URL(url).port));
    await once(proxy.#server.listen(0, '127.0.0.1'), 'listening');
    return proxy;
  }

  private constructor(port: number) {
    this.#server = createServer((client) => {
      client.on('error', () => {}); // `close` follows.
      if (this.fault !== undefined && this.#pairs.size > 0) {
        const [first] = this.#pairs;
        client.destroy();
        first?.broker.destroy();
        // Not before the client has said goodbye to the first.
        if (this.fault === 'dies') first?.client.once('data', () => first.client.destroy());
        this.fault = undefined;
        this.faults++;
        return;
      }
      const pair = { client, broker: connect(port, '127.0.0.1') };
      this.#pairs.add(pair);
      pair.broker.on('error', () => {});
      pair.broker.on('data', (bytes) => client.write(bytes));
      client.on('data', (bytes) => pair.broker.write(bytes));
      client.on('close', () => {
        pair.broker.destroy();
        this.#pairs.delete(pair);
      });
    });
  }

  get url(): string {
    return `amqp://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Ends all connections. */
  cut(): void {
    for (const { client } of this.#pairs) client.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    this.#server.close();
  }
}

await describeWithOwnBroker('amqp', 'connection amqp', () => {
  it('refuses wrong credentials and a wrong virtual host at once, and takes the right ones', async () => {
    await rabbitmqctl(server, 'add_user', 'millrace', 'pa55');
    await rabbitmqctl(server, 'add_vhost', 'a/b c');
    await rabbitmqctl(server, 'set_permissions', '-p', 'a/b c', 'millrace', '.*', '.*', '.*');
    const { url } = server;
    for (const [settings, named] of [
      [{ password: 'wrong' }, 'refuses the user guest'],
      [{ user: 'millrace', password: 'guest' }, 'refuses the user millrace'],
      [{ vhost: 'nowhere' }, 'virtual host nowhere'],
      [{ user: 'millrace', password: 'pa55' }, 'permissions of the user'],
    ] as const) {
      await expect(connection({ url, connectTimeout: '1h', ...settings }).start()).rejects.toMatchObject({
        code: 'config.invalid',
        message: expect.stringContaining(named),
      });
    }
    const right = connection({ url, user: 'millrace', password: 'pa55', vhost: 'a/b c' });
    await right.start();
    expect(right.health()).toEqual({ state: 'connected', reconnects: 0 });
    expect(right.server.product).toBe('RabbitMQ');
  });

  it('tells no password, neither in its log nor in what it throws', async () => {
    const lines: string[] = [];
    const logger = pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) });
    const config = amqpConnectionConfig.parse({ url: server.url, password: 'hunter2' });
    const error: unknown = await new Amqp(config, { ...quietHost(systemClock), logger })
      .start()
      .catch((thrown) => thrown);
    expect(error).toMatchObject({ code: 'config.invalid' });
    logger.error({ err: error }, 'refused');
    expect(lines.join('')).toContain('ACCESS_REFUSED');
    expect(lines.join('')).not.toContain('hunter2');
    expect(() => amqpConnectionConfig.parse({ url: 'amqp://user:hunter2@host' })).toThrow('settings of their own');
  });

  it('waits for a broker that is away for as long as it is told, and ends that when the gateway stops', async () => {
    const [port] = await freePorts(1);
    const url = `amqp://127.0.0.1:${port}`;
    await expect(connection({ url, connectTimeout: '300ms' }).start()).rejects.toMatchObject({
      code: 'connection.unavailable',
      message: expect.stringContaining('ECONNREFUSED'),
    });
    const stop = new AbortController();
    const made = new Amqp(amqpConnectionConfig.parse({ url, connectTimeout: '1h' }), {
      ...quietHost(systemClock),
      signal: stop.signal,
    });
    const started = made.start();
    stop.abort();
    await expect(started).rejects.toMatchObject({ code: 'connection.unavailable' });
  });

  it('dials the next node when one does not answer', async () => {
    const [port] = await freePorts(1);
    await connection({ url: [`amqp://127.0.0.1:${port}`, server.url] }).start();
  });

  it('speaks TLS, and says what is wrong with it', async () => {
    const url = `amqps://127.0.0.1:${tlsPort}`;
    const ca = join(folder, 'ca.pem');
    const right = connection({ url, tls: { ca, serverName: 'millrace-test' } });
    await right.start();
    for (const [tls, named] of [
      [undefined, 'give its authority as tls.ca'],
      [{ ca: join(folder, 'other.pem'), serverName: 'millrace-test' }, 'check tls.ca'],
      [{ ca, serverName: 'other' }, 'tls.serverName'],
      [{ ca: 'missing.pem' }, 'tls.ca: ENOENT'],
    ] as const) {
      await expect(connection({ url, tls }).start()).rejects.toMatchObject({
        code: 'config.invalid',
        message: expect.stringContaining(named),
      });
    }
    const plain = server.url.replace('amqp:', 'amqps:');
    await expect(connection({ url: plain, connectTimeout: '1s' }).start()).rejects.toMatchObject({
      code: expect.stringMatching(/config\.invalid|connection\.unavailable/),
    });
    expect(readFileSync(ca, 'utf8')).toContain('BEGIN CERTIFICATE');
  });

  it('rejects at once while the broker is away, and is back by itself, also after a stall', async () => {
    await using own = await startBroker('amqp');
    const amqp = await dial(own.url, { heartbeat: '1s' });
    cleanups.push(() => amqp.stop(1000));
    let backs = 0;
    amqp.onBack(() => backs++);
    for (const [index, fault] of (['kill', 'stall'] as const).entries()) {
      const { lost } = amqp;
      const channel = await amqp.confirmChannel();
      const closed = new Promise((resolve) => channel.once('close', resolve));
      if (fault === 'kill') await own.kill();
      else own.pause();
      await until(() => !amqp.connected);
      expect(lost.aborted).toBe(true);
      await closed;
      await expect(amqp.channel()).rejects.toMatchObject({ code: 'connection.unavailable' });
      expect(amqp.health()).toMatchObject({ state: 'reconnecting', reconnects: index });
      if (fault === 'kill') await own.restart();
      else own.resume();
      await until(() => amqp.connected && backs === index + 1);
      expect(amqp.lost.aborted).toBe(false);
      await (await amqp.channel()).assertQueue('', { exclusive: true });
    }
    expect(amqp.health()).toMatchObject({ state: 'connected', reconnects: 2 });
  }, 120_000);

  it.each(['dies', 'falls silent'] as const)(
    'is back by itself when the broker %s between its two connections',
    async (how) => {
      await using proxy = await Proxy.to(server.url);
      const amqp = connection({ url: proxy.url });
      await amqp.start();
      proxy.fault = how;
      proxy.cut();
      await until(() => proxy.faults > 0);
      await until(() => amqp.connected);
      await (await amqp.channel()).checkExchange('amq.direct');
    },
    60_000,
  );

  it('outlives the end of a channel, of which its user is told', async () => {
    const amqp = await dial(server.url);
    cleanups.push(() => amqp.stop(1000));
    const channel = await amqp.channel();
    const closed = new Promise((resolve) => channel.once('close', resolve));
    await expect(channel.checkQueue('nowhere')).rejects.toThrow('NOT_FOUND');
    await closed;
    expect(amqp.connected).toBe(true);
    await amqp.channel();
  });
});
