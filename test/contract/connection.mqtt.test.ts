import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, afterEach, expect, it } from 'vitest';
import { sleep, systemClock } from '../../core/contracts/clock.ts';
import { Mqtt } from '../../plugins/connections/mqtt/connection.ts';
import { mqttConnectionConfig } from '../../plugins/connections/mqtt/index.ts';
import type { MqttLink, MqttListener } from '../../plugins/connections/mqtt/link.ts';
import { type OwnBroker, startBroker } from '../support/brokers.ts';
import { freePorts } from '../support/brokers/ports.ts';
import { quietHost } from '../support/quiet-host.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});
const folder = mkdtempSync(join(tmpdir(), 'millrace-mqtt-files-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function broker(...settings: readonly string[]): Promise<OwnBroker> {
  const own = await startBroker('mqtt', { settings });
  cleanups.push(() => own.dispose());
  return own;
}

function mqtt(url: string, settings: Record<string, unknown> = {}): Mqtt & { readonly failures: unknown[] } {
  const host = quietHost(systemClock, folder);
  const config = mqttConnectionConfig.parse({ url, clientId: 'test', connectTimeout: '2s', ...settings });
  const connection = new Mqtt(config, host);
  cleanups.push(() => connection.stop());
  return Object.assign(connection, { failures: host.failures });
}

/** A client that answers nothing by itself. */
function clientOf(connection: Mqtt, listener: Partial<MqttListener>, name = 'user'): MqttLink {
  const silent = { connected() {}, prepare: async () => {}, received: () => undefined, released() {} };
  const link = connection.client(name, 10, { ...silent, ...listener }, pino({ level: 'silent' }));
  cleanups.push(() => link.stop());
  return link;
}

const refusalOf = (connection: Mqtt): Promise<unknown> =>
  connection.start().then(
    () => 'started',
    (error: unknown) => error,
  );
const isInvalid = (message: RegExp): object => ({
  code: 'config.invalid',
  message: expect.stringMatching(message) as string,
});

await describeWithOwnBroker('mqtt', 'connection mqtt', () => {
  it.each([5, '3.1.1'])('of version %s connects, tells how it fares, and lets go', async (version) => {
    const { url } = await broker();
    const connection = mqtt(url, { version });
    await connection.start();
    expect(connection.health()).toEqual({ state: 'connected', reconnects: 0 });
    await connection.stop();
    expect(connection.health().state).toBe('stopped');
    await connection.stop();
    expect(connection.failures).toEqual([]);
  });

  it('waits for a broker that is away, and says where it looked for it', async () => {
    const [port = 0] = await freePorts(1);
    const connection = mqtt(`mqtt://127.0.0.1:${port}`, { connectTimeout: '300ms' });
    expect(await refusalOf(connection)).toMatchObject({
      code: 'connection.unavailable',
      message: expect.stringContaining(`no MQTT broker at mqtt://127.0.0.1:${port}: connect ECONNREFUSED`) as string,
    });
    const own = await broker();
    await own.kill();
    const patient = mqtt(own.url, { connectTimeout: '20s' });
    const starting = patient.start();
    await sleep(300);
    await own.restart();
    await starting;
    expect(patient.health().state).toBe('connected');
  });

  it('gives up its start when it is told to', async () => {
    const [port = 0] = await freePorts(1);
    const stop = new AbortController();
    const host = { ...quietHost(systemClock, folder), signal: stop.signal };
    const url = `mqtt://127.0.0.1:${port}`;
    const connection = new Mqtt(mqttConnectionConfig.parse({ url, clientId: 'a', connectTimeout: '1m' }), host);
    const starting = refusalOf(connection);
    await sleep(50);
    stop.abort();
    expect(await starting).toMatchObject({ code: 'connection.unavailable' });
  });

  it('is back by itself after a restart, with the clients of its users', async () => {
    const own = await broker();
    const connection = mqtt(own.url);
    await connection.start();
    const sessions: boolean[] = [];
    const user = clientOf(connection, { connected: (isResumed) => void sessions.push(isResumed) });
    await user.open();
    await user.subscribe([{ topic: 'a', qos: 1, rh: 0 }]);
    await own.stop();
    await expect.poll(() => [connection.health().state, user.health().state]).toEqual(['reconnecting', 'reconnecting']);
    expect(connection.health().lastError).toEqual(expect.any(String));
    await expect(user.subscribe([{ topic: 'b', qos: 1, rh: 0 }])).rejects.toMatchObject({
      code: 'connection.unavailable',
    });
    await own.restart();
    await expect
      .poll(() => [connection.health().state, user.connected], { timeout: 10_000 })
      .toEqual(['connected', true]);
    expect([connection.health().reconnects, user.health().reconnects]).toEqual([1, 1]);
    expect(sessions).toEqual([false, true]);
    expect(connection.failures).toEqual([]);
  });

  it('takes a broker that hangs for gone', async () => {
    const own = await broker();
    const connection = mqtt(own.url, { keepalive: '1s' });
    await connection.start();
    own.pause();
    await expect.poll(() => connection.health().state, { timeout: 10_000 }).toBe('reconnecting');
    expect(connection.health().lastError).toBe('Keepalive timeout');
    own.resume();
    await expect.poll(() => connection.health().state, { timeout: 15_000 }).toBe('connected');
  }, 30_000);

  it.each([5, '3.1.1'])('acknowledges nothing by itself (version %s)', async (version) => {
    const { url } = await broker();
    const connection = mqtt(url, { version });
    await connection.start();
    for (const qos of [1, 2] as const) {
      const came: boolean[] = [];
      const listener = { received: ({ dup }: { dup: boolean }) => void came.push(dup) };
      const name = `qos-${qos}`;
      const first = clientOf(connection, listener, name);
      await first.open();
      await first.subscribe([{ topic: 'a', qos, rh: 2 }]);
      const { port } = new URL(url);
      execFileSync('mosquitto_pub', ['-p', port, '-q', `${qos}`, '-t', 'a', '-m', 'one']);
      await expect.poll(() => came).toEqual([false]);
      await first.stop();
      const released: number[] = [];
      const acknowledging: Partial<MqttListener> = {
        received: (message) => {
          came.push(message.dup);
          second.acknowledge([message]);
          return undefined;
        },
        released: (messageId) => void released.push(messageId),
      };
      const second = clientOf(connection, acknowledging, name);
      await second.open();
      await expect.poll(() => came).toEqual([false, true]);
      if (qos === 2) await expect.poll(() => released.length).toBe(1);
      await second.stop();
      const third = clientOf(connection, listener, name);
      await third.open();
      execFileSync('mosquitto_pub', ['-p', port, '-q', `${qos}`, '-t', 'a', '-m', 'two']);
      await expect.poll(() => came).toEqual([false, true, false]);
      await third.stop();
    }
  });

  it('publishes what has no headers, and says when it cannot', async () => {
    const own = await broker();
    const connection = mqtt(own.url);
    await connection.start();
    const came: string[] = [];
    const user = clientOf(connection, {
      received: (message) => {
        came.push(message.payload.toString());
        user.acknowledge([message]);
        return undefined;
      },
    });
    await user.open();
    await user.subscribe([{ topic: 'a', qos: 1, rh: 2 }]);
    await connection.publish({ to: 'a', headers: {}, body: Buffer.from('bare') });
    await connection.publish({ to: 'a', headers: { 'x-any': ['1', '2'] }, body: Buffer.from('with') });
    await expect.poll(() => came).toEqual(['bare', 'with']);
    expect([connection.health().reconnects, user.health().reconnects]).toEqual([0, 0]);
    await own.kill();
    await expect(connection.publish({ to: 'a', headers: {}, body: Buffer.from('x') })).rejects.toMatchObject({
      code: 'connection.unavailable',
    });
  });

  it('logs in with a user, and names what is refused', async () => {
    writeFileSync(join(folder, 'users'), 'ada:s3cret\n');
    execFileSync('mosquitto_passwd', ['-U', join(folder, 'users')], { stdio: 'ignore' });
    const own = await broker('allow_anonymous false', `password_file ${join(folder, 'users')}`);
    for (const version of [5, '3.1.1']) {
      await mqtt(own.url, { version, username: 'ada', password: 's3cret' }).start();
      for (const settings of [{}, { username: 'ada', password: 'wrong' }]) {
        const begun = performance.now();
        const error = await refusalOf(mqtt(own.url, { version, connectTimeout: '20s', ...settings }));
        expect(error).toMatchObject(
          isInvalid(/refuses (the user ada|a client without a user).*check username and password/),
        );
        expect(String(error)).not.toMatch(/s3cret|wrong/);
        expect(performance.now() - begun).toBeLessThan(10_000);
      }
    }
  });

  it('speaks TLS, both ways where the broker wants it, and trusts only whom it is told to', async () => {
    const run = (...args: string[]): void => void execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' });
    const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout'];
    const authority = (name: string): void =>
      run('req', '-x509', ...newKey, `${name}.key`, '-subj', `/CN=${name}`, '-days', '2', '-out', `${name}.pem`);
    const certificate = (name: string): void => {
      run('req', ...newKey, `${name}.key`, '-subj', `/CN=${name}`, '-out', `${name}.csr`);
      writeFileSync(join(folder, 'ext'), 'subjectAltName=IP:127.0.0.1,DNS:localhost');
      const signed = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', 'ext'];
      run('x509', '-req', '-in', `${name}.csr`, ...signed, '-out', `${name}.pem`);
    };
    authority('ca');
    authority('stranger');
    certificate('server');
    certificate('client');
    const [port = 0, webPort = 0] = await freePorts(2);
    const files = ['cafile ca.pem', 'certfile server.pem', 'keyfile server.key'];
    const secure = files.map((line) => line.replace(' ', ` ${folder}/`));
    const own = await broker(
      `listener ${port} 127.0.0.1`,
      ...secure,
      'require_certificate true',
      `listener ${webPort} 127.0.0.1`,
      'protocol websockets',
      ...secure,
    );
    const url = `mqtts://127.0.0.1:${port}`;
    const client = { cert: 'client.pem', key: 'client.key' };
    await mqtt(url, { tls: { ca: 'ca.pem', ...client } }).start();
    await mqtt(`wss://127.0.0.1:${webPort}/mqtt`, { tls: { ca: 'ca.pem' } }).start();
    expect(await refusalOf(mqtt(url, { tls: { ca: 'stranger.pem', ...client } }))).toMatchObject(
      isInvalid(/certificate of the MQTT broker .* is not trusted.*check tls\.ca/),
    );
    expect(await refusalOf(mqtt(url, { tls: client }))).toMatchObject(isInvalid(/give its authority as tls\.ca/));
    expect(await refusalOf(mqtt(url, { tls: { ca: 'absent.pem' } }))).toMatchObject(isInvalid(/tls\.ca: ENOENT/));
    expect(await refusalOf(mqtt(url, { tls: { ca: 'ca.pem' }, connectTimeout: '500ms' }))).toMatchObject({
      code: expect.stringMatching(/config\.invalid|connection\.unavailable/) as string,
    });
    expect(await refusalOf(mqtt(own.url.replace('mqtt:', 'mqtts:'), { connectTimeout: '500ms' }))).toMatchObject({
      code: expect.stringMatching(/config\.invalid|connection\.unavailable/) as string,
    });
  });

  it('does not take another service for a broker', async () => {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.write('220 mail.example ESMTP\r\n');
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    cleanups.push(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    const address = server.address();
    const port = typeof address === 'object' ? address?.port : 0;
    expect(await refusalOf(mqtt(`mqtt://127.0.0.1:${port}`, { connectTimeout: '500ms' }))).toMatchObject({
      code: 'connection.unavailable',
    });
  });
});
