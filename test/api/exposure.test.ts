import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../core/config/load.ts';
import { builtIns, testDefaults, testGateway, type TestGateway } from '../support/gateway.ts';
import { startGateway, stopGateway } from '../support/gateway-process.ts';
import { faasCli, openFaasYaml } from '../support/openfaas.ts';

/** What strangers can reach, what names and values may be made of, and what happens where a secret is missing. */

describe('the public listener', () => {
  let running: TestGateway;
  beforeAll(async () => {
    running = await testGateway('functions: { echo: { behaviour: echo } }\n');
  });
  afterAll(() => running[Symbol.asyncDispose]());

  const status = async (path: string, method: 'GET' | 'POST' = 'GET', at = running.url): Promise<number> => {
    const { statusCode, body } = await request(`${at}${path}`, { method });
    await body.dump();
    return statusCode;
  };

  // Fission CVE-2026-46614: functions by an internal route that no trigger had opened.
  it('has no way to what is meant for the inside', async () => {
    for (const path of [
      '/metrics',
      '/debug/pprof',
      '/fission-function/default/echo',
      '/_/health',
      '/internal',
      '/api/v1',
    ])
      expect([path, await status(path)]).toEqual([path, 404]);
    for (const name of ['callback.millrace', 'reply.millrace', 'CALLBACK.millrace', 'callback%2emillrace'])
      for (const way of ['function', 'async-function'])
        expect([name, await status(`/${way}/${name}`, 'POST')]).toEqual([name, 404]);
    expect(await status('/metrics', 'GET', running.gateway.managementUrl)).toBe(200);
    for (const path of ['/system/functions', '/function/echo', '/ui/'])
      expect([path, await status(path, 'GET', running.gateway.managementUrl)]).toEqual([path, 404]);
  });

  it('takes no word of a stranger for where he comes from', async () => {
    for (const name of ['x-forwarded-for', 'x-real-ip', 'forwarded', 'x-forwarded-host']) {
      const { statusCode, body } = await request(`${running.url}/system/queues`, {
        headers: { host: 'evil.example', [name]: '127.0.0.1' },
      });
      await body.dump();
      expect([name, statusCode]).toEqual([name, 403]);
    }
  });
});

/** Takes deployments, with a provider that runs commands of this host. */
let deploying: TestGateway;
let faas: ReturnType<typeof faasCli>;
beforeAll(async () => {
  deploying = await testGateway(openFaasYaml(mkdtempSync(join(tmpdir(), 'millrace-exposure-'))));
  faas = faasCli(deploying.url);
});
afterAll(() => deploying[Symbol.asyncDispose]());

/** Names that would be a path, a wildcard of subjects and topics, a line of a log, or two names in one. */
const badNames = [
  '..', '.', '../../root/.ssh/authorized_keys', '..%2f..%2fx', '%2e%2e', 'a/b', '/etc/passwd', 'a\\b', 'C:x',
  'a*', '*', '>', 'a.>', '#', 'a.#', '+', 'a b', 'a\nb', 'a\r\nX-Injected: 1', 'a\u0000', 'a\u001b[31m', '`x`', '$(x)',
  '${ADMIN}', 'é', 'а', 'a\u202eb', 'ａ', '-a', '--help', '', 'a'.repeat(254),
]; // prettier-ignore
/** Of functions; a secret may have these. */
const badForFunctions = [...badNames, 'a_b', 'A', 'a.b.c', 'a'.repeat(64)];

// Fission CVE-2026-50567, -50568, -50569, Traefik CVE-2026-29777, faasd PR #71.
describe('a name that is none', () => {
  it('is refused by the API, before anything is made of it', async () => {
    for (const name of badForFunctions) {
      for (const asked of [
        { service: name, image: 'functions/figlet' },
        { service: 'a', namespace: name, image: 'functions/figlet' },
      ]) {
        if (asked.namespace === '' || (asked.namespace === undefined && 'namespace' in asked)) continue;
        const { status } = await faas.send('POST', '/system/functions', asked);
        expect([asked, status]).toEqual([asked, 400]);
      }
    }
    for (const name of badNames) {
      for (const secret of [
        { name, value: 'x' },
        { name: 'a', namespace: name, value: 'x' },
      ]) {
        if (secret.namespace === '') continue; // As clients send it that were given none.
        const { status } = await faas.send('POST', '/system/secrets', secret);
        expect([secret, status]).toEqual([secret, 400]);
      }
    }
    expect(await faas.json('/system/functions')).toHaveLength(1);
    expect(await faas.json('/system/secrets')).toEqual([]);
  });

  it('is refused in the configuration by the same rule', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-names-'));
    const file = join(folder, 'millrace.yaml');
    for (const name of badForFunctions) {
      const functions = JSON.stringify({ [`${name}.a`]: { module: './x.ts' }, [`a.${name}`]: { module: './x.ts' } });
      writeFileSync(file, `functions: ${functions}\nproviders: { worker: { kind: worker } }\n`);
      const { config, problems } = await loadConfig(file, builtIns(), testDefaults, { ADMIN: 'x' });
      expect([name, config]).toEqual([name, undefined]);
      for (const { text } of problems) expect([...text].filter((one) => one < ' ')).toEqual([]);
    }
  });
});

// Caddy CVE-2026-30852: what a user wrote was expanded once more, by the server's own variables.
describe('what is deployed', () => {
  it('is taken as it is, whatever references it seems to hold', async () => {
    process.env['MILLRACE_EXPOSED'] = 'exposed';
    const text = '${MILLRACE_EXPOSED} ${file:/etc/hostname} $MILLRACE_EXPOSED $(hostname) {{.Env}}';
    const deployed = await faas.deploy('plain', 'ghcr.io/openfaas/alpine', {
      envProcess: 'env',
      envVars: { TEXT: text },
    });
    expect(deployed.status).toBe(202);
    const { text: seen } = await faas.invoke('plain', '');
    expect(seen).toContain(`TEXT=${text}\n`);
    expect(seen).not.toMatch(/exposed/);
    delete process.env['MILLRACE_EXPOSED'];
  });

  // Nuclio CVE-2026-29042: the headers of a request ran as a command.
  it('runs nothing that stands in a request', async () => {
    expect((await faas.deploy('shell', 'functions/figlet')).status).toBe(202);
    const text = `$(touch /tmp/x); \`id\`; '"; id #`;
    const { statusCode, body } = await request(`${deploying.url}/function/shell/$(id)?a=;id`, {
      method: 'POST',
      headers: { 'x-text': text, 'content-type': text },
      body: text,
    });
    expect([statusCode, (await body.text()).trim()]).toEqual([200, text.toUpperCase()]);
  });
});

// Caddy CVE-2026-27586, Traefik CVE-2026-54762: without its file of credentials or of trust, everybody came in.
describe('a file of a secret that is missing', { timeout: 60_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-missing-'));
  const files = {
    token: 'a token of twenty-four characters or more',
    password: 'a password',
    'basic/basic-auth-user': 'admin',
    'basic/basic-auth-password': 'another password',
    callbacks: 'a key',
    webhook: 'a key',
    ca: '-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----',
    key: '-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----',
    upstream: 'a key',
  };
  const write = (except?: string): void => {
    mkdirSync(join(folder, 'basic'), { recursive: true });
    for (const [name, text] of Object.entries(files)) {
      if (name === except) rmSync(join(folder, name), { force: true });
      else writeFileSync(join(folder, name), text);
    }
  };
  const yaml = (basic: string): string => `
gateway:
  callbacks: { secret: "\${file:callbacks}" }
  auth:
    basic: ${basic}
    tokens: [{ name: ci, token: "\${file:token}", scopes: [deploy], namespaces: ["*"] }]
connections: { main: { kind: redis, url: "rediss://127.0.0.1", tls: { ca: "\${file:ca}", cert: "\${file:ca}", key: "\${file:key}" } } }
stores: { shared: { kind: redis } }
providers: { up: { kind: http } }
functions: { up: { url: "http://127.0.0.1:1", provider: up, headers: { x-key: "\${file:upstream}" } } }
connectors:
  hooks: { kind: http, functions: false, routes: [{ path: /hook, function: up, verify: { scheme: github, secret: "\${file:webhook}" } }] }
`;

  it.each(Object.keys(files))('%s: nothing is started', async (name) => {
    const file = join(folder, 'millrace.yaml');
    const basic = name.startsWith('basic/')
      ? '{ secretMountPath: basic }'
      : '{ user: admin, password: "${file:password}" }';
    writeFileSync(file, yaml(basic));
    write();
    const whole = await loadConfig(file, builtIns(), testDefaults, {});
    expect(whole.problems.filter(({ severity }) => severity === 'error')).toEqual([]);
    write(name);
    const { config, problems } = await loadConfig(file, builtIns(), testDefaults, {});
    expect(config).toBeUndefined();
    expect(problems.map(({ text }) => text).join('\n')).toContain(`${join(folder, name)} cannot be read`);
    // Empty, it is no secret either.
    writeFileSync(join(folder, name), '\n');
    expect((await loadConfig(file, builtIns(), testDefaults, {})).config).toBeUndefined();
  });

  it('while the gateway runs changes nothing: who was kept out stays out', async () => {
    write();
    const file = join(folder, 'running.yaml');
    const queue = 'queues: { default: { kind: memory, allowVolatile: true } }\nstores: { default: { kind: memory } }\n';
    const auth = 'auth: { basic: { user: admin, password: "${file:password}" } }';
    writeFileSync(file, `gateway: { listen: { port: 0 }, management: { port: 0 }, ${auth} }\n${queue}`);
    const gateway = await startGateway(file);
    try {
      rmSync(join(folder, 'password'));
      gateway.child.kill('SIGHUP');
      await expect.poll(() => gateway.log.join('\n'), { timeout: 20_000 }).toContain('was not taken up');
      const ask = async (authorization?: string): Promise<number> => {
        const headers = authorization === undefined ? {} : { authorization };
        const { statusCode, body } = await request(`${gateway.url}/system/functions`, { headers });
        await body.dump();
        return statusCode;
      };
      const basic = (password: string): string => `Basic ${Buffer.from(`admin:${password}`).toString('base64')}`;
      expect([await ask(), await ask(basic('')), await ask(basic('undefined'))]).toEqual([401, 401, 401]);
      expect(await ask(basic(files.password))).toBe(200);
    } finally {
      await stopGateway(gateway);
    }
  });
});
