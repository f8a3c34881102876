import { execFileSync } from 'node:child_process';
import { createServer, type Socket } from 'node:net';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nkeys } from 'nats';
import { afterAll, afterEach, expect, it } from 'vitest';
import { sleep, systemClock } from '../../core/contracts/clock.ts';
import { Nats } from '../../plugins/connections/nats/connection.ts';
import { natsConfig } from '../../plugins/connections/nats/index.ts';
import { type BrokerOptions, type OwnBroker, startBroker } from '../support/brokers.ts';
import { freePorts } from '../support/brokers/ports.ts';
import { quietHost } from '../support/quiet-host.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});
const folder = mkdtempSync(join(tmpdir(), 'millrace-nats-files-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function broker(...settings: readonly string[]): Promise<OwnBroker> {
  const options: BrokerOptions = { settings };
  const own = await startBroker('nats', options);
  cleanups.push(() => own.dispose());
  return own;
}

function nats(servers: string, settings: Record<string, unknown> = {}): Nats & { readonly failures: unknown[] } {
  const host = quietHost(systemClock, folder);
  const connection = new Nats(natsConfig.parse({ servers, connectTimeout: '2s', ...settings }), host);
  cleanups.push(() => connection.stop(1000));
  return Object.assign(connection, { failures: host.failures });
}

async function until(holds: () => boolean, ms = 10_000): Promise<void> {
  const deadline = performance.now() + ms;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`it did not come to be within ${ms} ms`);
    await sleep(10);
  }
}

await describeWithOwnBroker('nats', 'connection nats', () => {
  it('connects, tells how it fares, and lets go', async () => {
    const { url } = await broker();
    const connection = nats(url);
    await connection.start();
    expect(connection.health()).toEqual({ state: 'connected', reconnects: 0 });
    expect(await connection.while(async (client) => client.rtt())).toBeTypeOf('number');
    await connection.stop(1000);
    expect(connection.health().state).toBe('stopped');
    await expect(connection.while(async (client) => client.rtt())).rejects.toMatchObject({
      code: 'connection.unavailable',
    });
    await connection.stop(1000);
    expect(connection.failures).toEqual([]);
  });

  it('waits for a broker that is away, and says where it looked for it', async () => {
    const [port = 0] = await freePorts(1);
    const connection = nats(`nats://127.0.0.1:${port}`, { connectTimeout: '300ms' });
    await expect(connection.start()).rejects.toMatchObject({
      code: 'connection.unavailable',
      message: expect.stringContaining(`no NATS server at nats://127.0.0.1:${port}`),
    });
    const own = await broker();
    await own.kill();
    const patient = nats(own.url, { connectTimeout: '20s' });
    const starting = patient.start();
    await sleep(300);
    await own.restart();
    await starting;
    expect(patient.connected).toBe(true);
  });

  it('rejects at once what is asked while the broker is away or goes away, and is back by itself', async () => {
    const own = await broker();
    const connection = nats(own.url);
    await connection.start();
    let back = 0;
    connection.onBack(() => back++);
    const asked = expect(
      connection.while(async (client) => client.request('nobody.answers.but.listens', '', { timeout: 60_000 })),
    ).rejects.toMatchObject({ code: 'connection.unavailable' });
    connection.client.subscribe('nobody.answers.but.listens');
    const { lost } = connection;
    await own.kill();
    await asked;
    expect(lost.aborted).toBe(true);
    expect(connection.health()).toMatchObject({ state: 'reconnecting', lastError: expect.any(String) });
    const begun = performance.now();
    await expect(connection.while(async (client) => client.rtt())).rejects.toThrow('connection');
    expect(performance.now() - begun).toBeLessThan(100);
    await own.restart();
    await until(() => connection.connected);
    expect(connection.health()).toEqual({ state: 'connected', reconnects: 1 });
    expect([back, connection.lost.aborted]).toEqual([1, false]);
    expect(connection.failures).toEqual([]);
  });

  it('logs in with a user or a token, and names what is refused', async () => {
    const user = await broker('authorization { user: "ada", password: "s3cret" }');
    await nats(user.url, { user: 'ada', password: 's3cret' }).start();
    for (const settings of [{}, { user: 'ada', password: 'wrong' }, { token: 's3cret' }]) {
      const begun = performance.now();
      const error: unknown = await nats(user.url, { ...settings, connectTimeout: '20s' })
        .start()
        .catch((error: unknown) => error);
      expect(error).toMatchObject({
        code: 'config.invalid',
        message: expect.stringMatching(/refuses the credentials.*check user and password, token, or creds/),
      });
      expect(String(error)).not.toMatch(/s3cret|wrong/);
      expect(performance.now() - begun).toBeLessThan(5000);
    }
    const token = await broker('authorization { token: "t0ken" }');
    await nats(token.url, { token: 't0ken' }).start();
    await expect(nats(token.url, { token: 'other' }).start()).rejects.toMatchObject({ code: 'config.invalid' });
  });

  it('logs in with a file of credentials', async () => {
    const operator = nkeys.createOperator();
    const account = nkeys.createAccount();
    const user = nkeys.createUser();
    const claims = (type: string) => ({ type, version: 2 });
    const operatorJwt = jwt(operator, operator.getPublicKey(), claims('operator'));
    const accountJwt = jwt(operator, account.getPublicKey(), {
      ...claims('account'),
      limits: { subs: -1, data: -1, payload: -1, imports: -1, exports: -1, conn: -1, leaf: -1 },
    });
    const unlimited = { subs: -1, data: -1, payload: -1, pub: {}, sub: {} };
    const userJwt = jwt(account, user.getPublicKey(), { ...claims('user'), ...unlimited });
    const own = await broker(
      'jetstream: false',
      `operator: "${operatorJwt}"`,
      'resolver: MEMORY',
      `resolver_preload { ${account.getPublicKey()}: "${accountJwt}" }`,
    );
    const seed = Buffer.from(user.getSeed()).toString();
    writeFileSync(
      join(folder, 'user.creds'),
      `-----BEGIN NATS USER JWT-----\n${userJwt}\n------END NATS USER JWT------\n\n` +
        `-----BEGIN USER NKEY SEED-----\n${seed}\n------END USER NKEY SEED------\n`,
    );
    await nats(own.url, { creds: 'user.creds' }).start();
    await expect(nats(own.url).start()).rejects.toMatchObject({ code: 'config.invalid' });
    await expect(nats(own.url, { creds: 'absent.creds' }).start()).rejects.toMatchObject({
      code: 'config.invalid',
      message: expect.stringMatching(/creds: ENOENT.*absent\.creds/),
    });
    writeFileSync(join(folder, 'odd.creds'), 'nothing of the kind');
    await expect(nats(own.url, { creds: 'odd.creds' }).start()).rejects.toMatchObject({
      code: 'config.invalid',
      message: expect.stringContaining('expected a file with a JWT and an NKEY seed'),
    });
  });

  it('speaks TLS, both ways where the server wants it, and trusts only whom it is told to', async () => {
    const run = (...args: string[]): void => void execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' });
    const authority = (name: string): void => {
      const subject = ['-subj', `/CN=${name}`, '-days', '2'];
      run(
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:P-256',
        '-nodes',
        ...subject,
        '-keyout',
        `${name}.key`,
        '-out',
        `${name}.pem`,
      );
    };
    const certificate = (name: string): void => {
      const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${name}.key`];
      run('req', ...key, '-subj', `/CN=${name}`, '-out', `${name}.csr`);
      writeFileSync(join(folder, 'ext'), 'subjectAltName=IP:127.0.0.1,DNS:localhost');
      run(
        'x509',
        '-req',
        '-in',
        `${name}.csr`,
        '-CA',
        'ca.pem',
        '-CAkey',
        'ca.key',
        '-CAcreateserial',
        '-days',
        '2',
        '-extfile',
        'ext',
        '-out',
        `${name}.pem`,
      );
    };
    authority('ca');
    authority('stranger');
    certificate('server');
    certificate('client');
    const files = `cert_file: "${folder}/server.pem", key_file: "${folder}/server.key", ca_file: "${folder}/ca.pem"`;
    const secure = await broker(`tls { ${files}, verify: true }`);
    const client = { cert: 'client.pem', key: 'client.key' };
    await nats(secure.url, { tls: { ca: 'ca.pem', ...client } }).start();
    await expect(nats(secure.url, { tls: { ca: 'stranger.pem', ...client } }).start()).rejects.toMatchObject({
      code: 'config.invalid',
      message: expect.stringMatching(/certificate of the NATS server .* is not trusted/),
    });
    await expect(nats(secure.url, { tls: client }).start()).rejects.toMatchObject({
      code: 'config.invalid',
      message: expect.stringContaining('give its authority as tls.ca'),
    });
    await expect(nats(secure.url, { tls: { ca: 'absent.pem' } }).start()).rejects.toMatchObject({
      code: 'config.invalid',
      message: expect.stringMatching(/tls\.ca: ENOENT/),
    });
    await expect(nats(secure.url, { tls: { ca: 'ca.pem' } }).start()).rejects.toMatchObject({
      code: expect.stringMatching(/config\.invalid|connection\.unavailable/),
    });
    const plain = await broker();
    await expect(nats(plain.url, { tls: {} }).start()).rejects.toMatchObject({
      code: 'config.invalid',
      message: expect.stringContaining('does not offer TLS'),
    });
  });

  it('does not take another service for NATS', async () => {
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
    await expect(nats(`nats://127.0.0.1:${port}`, { connectTimeout: '500ms' }).start()).rejects.toMatchObject({
      code: 'connection.unavailable',
    });
  });

  it('takes one way to log in, and says so', () => {
    for (const settings of [{ user: 'ada' }, { token: 't', creds: 'c' }, { tls: { cert: 'c.pem' } }]) {
      expect(natsConfig.safeParse(settings).success).toBe(false);
    }
  });
});

/** As `nsc` makes them. */
function jwt(issuer: ReturnType<typeof nkeys.createUser>, subject: string, claims: object): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const head = part({ typ: 'JWT', alg: 'ed25519-nkey' });
  const now = Math.floor(Date.now() / 1000);
  const body = part({ jti: subject, iat: now, iss: issuer.getPublicKey(), sub: subject, name: 'test', nats: claims });
  const signature = Buffer.from(issuer.sign(Buffer.from(`${head}.${body}`))).toString('base64url');
  return `${head}.${body}.${signature}`;
}
