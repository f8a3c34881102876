import { execFile } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { apiRoutes } from '../../core/api/management.ts';
import { createToken } from '../../core/auth/token.ts';
import { eventually } from '../support/gateway.ts';
import { type GatewayProcess, startGateway } from '../support/gateway-process.ts';
import { bodyOf, type RunningServer, serve } from '../support/http-functions.ts';
import { processRows } from '../support/processes.ts';

/**
 * Every secret that a gateway can have is a canary here. Then it does whatever it can, well and badly, and nothing that comes
 * out of it may hold one: Fission GHSA-7m8x-qg2j-4m3v, Traefik CVE-2022-23469, -41181, Node CVE-2026-48615, NATS
 * CVE-2026-33247.
 */

const root = join(import.meta.dirname, '../..');
const leaky = join(import.meta.dirname, '../support/plugins/leaky.ts');
const bird = (name: string): string => `canary-${name}-"${randomBytes(9).toString('base64')}"`;
const canaries = {
  token: createToken(),
  password: bird('password'),
  callbacks: bird('callbacks'),
  previous: bird('previous'),
  webhook: bird('webhook'),
  broker: bird('broker'),
  key: `-----BEGIN PRIVATE KEY-----\n${bird('key')}\n${bird('key')}\n-----END PRIVATE KEY-----`,
  upstream: `canary-upstream-${randomBytes(9).toString('hex')}`,
  function: bird('function'),
};
/** By name, and the lines of those that have several. */
const hunted = Object.entries(canaries).flatMap(([name, value]) =>
  value.split('\n').map((line) => [name, line.includes('canary') || line.startsWith('mr_') ? line : value] as const),
);

/** What of the canaries stands in a text, in each form that a text may have it. */
function leaksIn(place: string, text: string): string[] {
  return hunted.flatMap(([name, value]) => {
    const forms = [value, JSON.stringify(value).slice(1, -1), encodeURIComponent(value)];
    // In base 64 a text has three forms, by what stands before it.
    for (const before of ['', 'x', 'xx']) {
      forms.push(
        Buffer.from(before + value)
          .toString('base64')
          .slice(before.length * 2, -4),
      );
    }
    return forms.some((form) => text.includes(form)) ? [`${place} tells ${name}`] : [];
  });
}

const home = mkdtempSync(join(tmpdir(), 'millrace-canary-'));
const given = join(home, 'given');
const kept = join(home, 'kept');
const state = join(home, 'state');
const config = join(home, 'millrace.yaml');
/** Everything that was said, by where. */
const said: [place: string, text: string][] = [];
let sink: RunningServer;
let gateway: GatewayProcess;

const yaml = (more = ''): string => `
plugins: [${leaky}]
gateway:
  listen: { port: 0 }
  management: { port: 0 }
  callbacks: { allow: [127.0.0.1], secret: "\${file:given/callbacks}", retry: once }
  auth:
    basic: { user: admin, password: "\${ADMIN_PASSWORD}" }
    tokens: [{ name: ci, token: "\${file:given/token}", scopes: [invoke, deploy, operate], namespaces: ["*"] }]
observability: { logs: { format: json, level: trace } }
queues: { default: { kind: sqlite, path: state/queue.db } }
stores: { default: { kind: sqlite, path: state/store.db } }
connections: { main: { kind: leaky, password: "\${file:given/broker}", key: "\${file:given/key}" } }
policies: { retry: { never: { attempts: 1 } } }
providers:
  worker: { kind: worker }
  upstream: { kind: http }
  process:
    kind: process
    allowDeploy: true
    secretsPath: kept
    images: { reads: { command: [sh, -c, "test -s $SECRETS_PATH/kept && echo read"] } }
functions:
  fails: { provider: worker, module: ${join(root, 'test/fixtures/functions/fail.ts')}, invoke: { retry: never } }
  away: { provider: upstream, url: "http://127.0.0.1:1", headers: { x-api-key: "\${file:given/upstream}" }, invoke: { retry: never } }
  waits: { provider: process, command: [sh, -c, "echo begun; exec sleep 600"], mode: streaming, invoke: { timeout: 10m } }
  asked: { provider: process, command: [sh, -c, "echo begun; exec sleep 600"], mode: streaming, env: { LEAK: "\${ADMIN_PASSWORD}" } }
connectors:
  http: { kind: http }
  hooks:
    kind: http
    functions: false
    routes:
      - path: /hook
        function: fails
        verify: { scheme: hmac, header: x-mac, secret: "\${file:given/webhook}", previousSecret: "\${file:given/previous}" }
${more}`;

const env = { ADMIN_PASSWORD: canaries.password };
const basic = `Basic ${Buffer.from(`admin:${canaries.password}`).toString('base64')}`;

async function ask(method: string, path: string, headers: Record<string, string> = {}, body?: string): Promise<number> {
  const answer = await request(`${gateway.url}${path}`, {
    method,
    headers: { ...(body?.startsWith('{') && { 'content-type': 'application/json' }), ...headers },
    body: body ?? null,
    bodyTimeout: 2000,
  });
  let text = JSON.stringify(answer.headers);
  answer.body.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  // Streams have no end; that of figures tells all of them first.
  const isStream = /\/events|\/figures|follow/.test(path);
  if (!isStream) await new Promise((done) => answer.body.on('close', done));
  else if (path.includes('/figures')) await new Promise((done) => answer.body.once('data', done));
  answer.body.on('error', () => undefined).destroy();
  said.push([`${method} ${path}`, text]);
  return answer.statusCode;
}

/** A command of the command line; what it says on either stream. */
async function command(...args: string[]): Promise<void> {
  const text = await new Promise<string>((resolve) => {
    const options = { cwd: home, timeout: 60_000, env: { PATH: process.env['PATH'], ...env } };
    execFile(process.execPath, [join(root, 'core/main.ts'), ...args], options, (_error, stdout, stderr) => {
      resolve(`${stdout}${stderr}`);
    });
  });
  expect(text, args.join(' ')).not.toBe('');
  said.push([`millrace ${args[0]} ${args[1]}`, text]);
}

beforeAll(async () => {
  for (const folder of [given, kept, state]) mkdirSync(folder, { mode: 0o700 });
  for (const [name, value] of Object.entries(canaries)) {
    if (name !== 'function' && name !== 'password') writeFileSync(join(given, name), `${value}\n`, { mode: 0o400 });
  }
  writeFileSync(config, yaml());
  sink = await serve(async (incoming, response) => {
    said.push(['a callback', JSON.stringify(incoming.headers) + (await bodyOf(incoming)).toString()]);
    response.end();
  });
  gateway = await startGateway(config, env);
}, 60_000);

afterAll(async () => {
  gateway.child.kill('SIGKILL');
  await gateway.ended;
  await sink[Symbol.asyncDispose]();
});

describe('a gateway full of secrets', () => {
  it('tells none of them to those who ask, whatever they ask', { timeout: 120_000 }, async () => {
    const authorization = basic;
    const secret = { name: 'kept', namespace: 'openfaas-fn', value: canaries.function };
    expect(await ask('POST', '/system/secrets', { authorization }, JSON.stringify(secret))).toBe(202);
    expect(await ask('PUT', '/system/secrets', { authorization }, JSON.stringify(secret))).toBe(202);
    const deployment = { service: 'reads', image: 'reads', secrets: ['kept'] };
    expect(await ask('POST', '/system/functions', { authorization }, JSON.stringify(deployment))).toBe(202);
    expect(await ask('POST', '/function/reads')).toBe(200);
    // Bad ones, whose mistakes are told.
    await ask('POST', '/system/secrets', { authorization }, JSON.stringify({ ...secret, name: '../x', other: 1 }));
    await ask('POST', '/system/secrets', { authorization }, JSON.stringify(secret));
    await ask('POST', '/system/functions', { authorization }, JSON.stringify({ ...deployment, secrets: ['absent'] }));
    for (const shown of [`Bearer ${canaries.token}x`, basic.slice(0, -4), `Basic ${canaries.password}`, canaries.token])
      expect(await ask('GET', '/system/functions', { authorization: shown })).toBe(401);
    await ask('GET', '/system/functions?token=nothing', { authorization });
    // What fails, and where it ends.
    expect(await ask('POST', '/function/fails')).toBe(500);
    expect(await ask('POST', '/function/away')).toBe(502);
    // What is shown to a public function is that function's, so nobody shows it the gateway's.
    for (const name of ['fails', 'away', 'reads'])
      expect(await ask('POST', `/async-function/${name}`, { 'x-callback-url': sink.url })).toBe(202);
    const mac = (key: string): string => createHmac('sha256', key).update('signed').digest('hex');
    expect(await ask('POST', '/hook', { 'x-mac': mac(canaries.webhook) }, 'signed')).toBe(202);
    expect(await ask('POST', '/hook', { 'x-mac': mac('a guess') }, 'signed')).toBe(401);
    await eventually(() => (said.filter(([place]) => place === 'a callback').length >= 3 ? true : undefined));
    const { items } = (await (
      await request(`${gateway.url}/system/dead-letters`, { headers: { authorization } })
    ).body.json()) as { items: { id: string }[] };
    expect(items.length).toBeGreaterThanOrEqual(2);
    // Every route that only looks, about what there is.
    for (const { method, path } of apiRoutes.filter((route) => route.method === 'GET')) {
      const id = path.includes('dead-letters') || path.includes('invocations') ? (items[0]?.id ?? '') : 'reads';
      await ask(method, path.replace(/\{\w+\}/, id).replace(/logs$/, 'logs?name=fails'), { authorization });
    }
    expect(await ask('GET', '/system/connections', { authorization: `Bearer ${canaries.token}` })).toBe(200);
    for (const path of ['/metrics', '/healthz']) {
      said.push([path, await (await request(`${gateway.management}${path}`)).body.text()]);
    }
    expect(said.flatMap(([place, text]) => leaksIn(place, text))).toEqual([]);
    expect(said.length).toBeGreaterThan(40);
    // The connection has said what it was given, and that came through.
    expect(said.find(([place]) => place === 'GET /system/connections')?.[1]).toContain('[redacted]');
  });

  it('lets no process see what it did not ask for, and shows none in a command line', async () => {
    const begun = async (name: string): Promise<void> => {
      const { body } = await request(`${gateway.url}/function/${name}`, { method: 'POST', bodyTimeout: 0 });
      body.on('error', () => undefined); // Its gateway is killed.
      await new Promise((resolve) => body.once('data', resolve));
    };
    await begun('waits');
    const family = descendantsOf(gateway.child.pid ?? 0);
    expect(family.length).toBeGreaterThanOrEqual(2);
    const environments = (pids: readonly number[]): string[] =>
      pids.flatMap((pid) => leaksIn(`environ of ${pid}`, readFileSync(`/proc/${pid}/environ`, 'utf8')));
    expect(environments(family)).toEqual([]);
    const lines = [gateway.child.pid ?? 0, ...family].map((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8'));
    expect(lines.flatMap((line) => leaksIn('cmdline', line))).toEqual([]);
    // One that was given it by the configuration has it, so that the search is known to find something.
    await begun('asked');
    const asked = descendantsOf(gateway.child.pid ?? 0).filter((pid) => !family.includes(pid));
    expect(environments(asked).join()).toContain('tells password');
  });

  it(
    'does not log them, at any level, nor tell them when its configuration is wrong',
    { timeout: 120_000 },
    async () => {
      writeFileSync(config, yaml('  broken: { kind: http, routes: "${file:given/webhook}" }\n'));
      gateway.child.kill('SIGHUP');
      await eventually(() => (gateway.log.some((line) => line.includes('was not taken up')) ? true : undefined));
      const bad = join(home, 'bad.yaml');
      const whole = join(home, 'whole.yaml');
      writeFileSync(
        bad,
        yaml('    - "${file:given/webhook}"\n').replace('user: admin', 'user: "${file:given/callbacks}:"'),
      );
      writeFileSync(whole, yaml());
      const refused = join(home, 'refused.yaml');
      writeFileSync(
        refused,
        yaml().replace('kind: leaky,', 'kind: leaky, refused: true,').replaceAll('state/', 'other/'),
      );
      await Promise.all([
        command('check', 'refused.yaml', '--connect', '--json'),
        command('check', 'bad.yaml', '--json'),
        command('config', 'show', 'whole.yaml'),
        command('plan', 'whole.yaml', 'bad.yaml'),
        command('serve', '--config', 'refused.yaml'),
      ]);
      expect(said.flatMap(([place, text]) => leaksIn(place, text))).toEqual([]);
      const log = gateway.log.join('\n');
      expect(log).toContain('[redacted]');
      expect(leaksIn('the log', log)).toEqual([]);
    },
  );

  it('writes them to no file but those of secrets, which nobody else may read', async () => {
    // As if it had crashed: what it leaves behind is read as it lies.
    gateway.child.kill('SIGABRT');
    expect(await gateway.ended).toBe('SIGABRT');
    const files = readdirSync(home, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    const paths = files.map(({ parentPath, name }) => join(parentPath, name));
    const secret = paths.filter((path) => path.startsWith(kept));
    expect(secret.map((path) => (statSync(path).mode & 0o777).toString(8))).toEqual(['400']);
    expect(leaksIn('kept', readFileSync(secret[0] ?? '', 'utf8'))).toEqual(['kept tells function']);
    const others = paths.filter((path) => !path.startsWith(given) && !path.startsWith(kept));
    expect(others.some((path) => path.endsWith('queue.db'))).toBe(true);
    expect(others.flatMap((path) => leaksIn(path, readFileSync(path, 'latin1')))).toEqual([]);
    expect(leaksIn('the log', gateway.log.join('\n'))).toEqual([]);
  });
});

function descendantsOf(pid: number): readonly number[] {
  const rows = processRows();
  const below = (parent: number): number[] =>
    rows.flatMap((row) => (row.parent === parent ? [row.pid, ...below(row.pid)] : []));
  return below(pid);
}
