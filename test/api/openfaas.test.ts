import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { request } from 'undici';
import { describe, expect, it } from 'vitest';
import { eventually, testGateway } from '../support/gateway.ts';
import { cleanups, devToken, faasCli, openFaasYaml, startOpenFaas } from '../support/openfaas.ts';

describe('the API of OpenFaaS, by what faas-cli sends', () => {
  it('is logged in to: 200 with the password, and the words that clients look for without', async () => {
    const { faas, url } = await startOpenFaas();
    expect((await faas.send('GET', '/system/functions')).status).toBe(200);
    const wrong = await request(`${url}/system/functions`, { headers: { authorization: 'Bearer ' } });
    expect(wrong.statusCode).toBe(401);
    // Clients in Go look at the first.
    expect([wrong.headers['www-authenticate']].flat()[0]).toBe('Basic realm="Restricted"');
    expect(await wrong.body.text()).toBe('invalid credentials');
  });

  it('deploys, lists, describes, calls, deploys anew and removes a function', async () => {
    const { faas } = await startOpenFaas();
    expect((await faas.send('DELETE', '/system/functions', { functionName: 'up', namespace: '' })).status).toBe(404);
    expect((await faas.deploy('up', 'ghcr.io/openfaas/alpine:latest', { envProcess: 'tr a-z A-Z' })).status).toBe(202);
    expect((await faas.invoke('up.openfaas-fn', 'hello')).text).toBe('HELLO');
    const listed = (await faas.json('/system/functions')).find(({ name }) => name === 'up');
    expect(listed).toMatchObject({
      name: 'up',
      image: 'ghcr.io/openfaas/alpine:latest',
      namespace: 'openfaas-fn',
      envProcess: 'tr a-z A-Z',
      labels: { faas_function: 'up' },
      annotations: {},
      replicas: 1,
      availableReplicas: 1,
      invocationCount: 1,
    });
    for (const field of ['envVars', 'constraints', 'secrets', 'limits', 'requests'])
      expect(listed).not.toHaveProperty(field);
    expect(Date.parse(String(listed?.['createdAt']))).toBeGreaterThan(Date.now() - 60_000);
    const described = await faas.send('GET', '/system/function/up?namespace=openfaas-fn&usage=1');
    expect(JSON.parse(described.text)).toMatchObject({ name: 'up', availableReplicas: 1 });

    expect((await faas.deploy('up', 'ghcr.io/openfaas/alpine:latest', { envProcess: 'tr A-Z a-z' })).status).toBe(202);
    await eventually(async () => ((await faas.invoke('up', 'HeLLo')).text === 'hello' ? true : undefined));
    expect((await faas.send('POST', '/system/functions', { service: 'up', image: 'x' })).status).toBe(409);

    expect((await faas.send('DELETE', '/system/functions', { functionName: 'up', namespace: '' })).status).toBe(202);
    expect((await faas.invoke('up')).status).toBe(404);
    expect((await faas.send('GET', '/system/function/up')).status).toBe(404);
  });

  it('calls asynchronously, and shows logs as NDJSON, followed too', async () => {
    const { faas, url } = await startOpenFaas();
    await faas.deploy('noisy', 'ghcr.io/openfaas/alpine:latest', {
      envProcess: 'sh -c "echo one >&2; echo two >&2; cat"',
      envVars: { combine_output: 'false' },
    });
    const called = await faas.invoke('noisy', 'later', 'async-function');
    expect(called.status).toBe(202);
    const id = String(called.headers['x-call-id']);
    await faas.send('GET', `/invocations/${id}?wait=20s`);
    const { text } = await faas.send('GET', '/system/logs?name=noisy&namespace=&tail=-1&follow=0');
    const lines = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, string>);
    const texts = lines.map((line) => line['text']);
    expect(texts.some((line) => line?.includes('one'))).toBe(true);
    expect(lines[0]).toMatchObject({ name: 'noisy', namespace: 'openfaas-fn' });
    expect(Date.parse(lines[0]?.['timestamp'] ?? '')).toBeGreaterThan(0);
    const one = await faas.send('GET', '/system/logs?name=noisy&tail=1&since=2020-01-01T00:00:00Z');
    expect(one.text.trim().split('\n')).toHaveLength(1);
    expect((await faas.send('GET', '/system/logs?name=nobody')).status).toBe(404);

    const ending = new AbortController();
    const followed = await request(`${url}/system/logs?name=noisy&follow=true&tail=1`, {
      headers: { authorization: `Basic ${Buffer.from('admin:geheim').toString('base64')}` },
      signal: ending.signal,
    });
    let seen = '';
    followed.body.on('data', (chunk: Buffer) => (seen += chunk.toString()));
    followed.body.on('error', () => undefined);
    await eventually(() => (seen.includes('\n') ? true : undefined));
    const before = seen.length;
    await faas.invoke('noisy', 'now');
    await eventually(() => (seen.length > before ? true : undefined));
    ending.abort();
  });

  it('keeps secrets that are never told, and gives them to functions as files', async () => {
    const { faas, folder } = await startOpenFaas();
    const secret = { name: 'api-key', namespace: '', value: 'k1' };
    expect((await faas.send('GET', '/system/secrets?namespace=')).text).toBe('[]');
    expect((await faas.send('PUT', '/system/secrets', secret)).status).toBe(404);
    expect((await faas.send('POST', '/system/secrets', secret)).status).toBe(202);
    expect((await faas.send('POST', '/system/secrets', secret)).status).toBe(409);
    expect(statSync(join(folder, 'secrets/openfaas-fn/api-key')).mode & 0o777).toBe(0o400);
    const all = await faas.send('GET', '/system/secrets');
    expect(JSON.parse(all.text)).toEqual([{ name: 'api-key', namespace: 'openfaas-fn' }]);
    const reads = { envProcess: 'sh -c "cat $SECRETS_PATH/api-key"', secrets: ['api-key'] };
    expect((await faas.deploy('reader', 'ghcr.io/openfaas/alpine', reads)).status).toBe(202);
    expect((await faas.invoke('reader')).text).toBe('k1');
    // `--from-file` sends both; the raw one wins.
    const raw = { ...secret, value: 'ignored', rawValue: Buffer.from([0xff, 0x00]).toString('base64') };
    expect((await faas.send('PUT', '/system/secrets', raw)).status).toBe(202);
    expect(readFileSync(join(folder, 'secrets/openfaas-fn/api-key'))).toEqual(Buffer.from([0xff, 0x00]));
    const described = await faas.send('GET', '/system/function/reader');
    expect(JSON.parse(described.text)).toMatchObject({ secrets: ['api-key'] });
    expect(described.text).not.toContain('k1');
    expect((await faas.send('DELETE', '/system/secrets', { name: 'api-key', namespace: '' })).status).toBe(202);
    expect((await faas.send('DELETE', '/system/secrets', { name: 'api-key', namespace: '' })).status).toBe(404);
    const refused = await faas.deploy('reader2', 'ghcr.io/openfaas/alpine', reads);
    expect(refused.status).toBe(400);
    expect(refused.text).toContain('secret \\"api-key\\": there is no file');
    for (const name of ['../escape', 'UPPER', '.hidden', 'a/b'])
      expect((await faas.send('POST', '/system/secrets', { ...secret, name })).status, name).toBe(400);
  });

  it('does not give the secrets of the operator, or of another namespace, to what is deployed', async () => {
    const { faas, folder } = await startOpenFaas();
    await faas.send('POST', '/system/secrets', { name: 'mine', namespace: '', value: 'v' });
    writeFileSync(join(folder, 'secrets/operator'), 'o');
    await faas.send('POST', '/system/namespace/', {
      name: 'other',
      labels: { openfaas: '1' },
      annotations: { openfaas: '1' },
    });
    const asked = { envProcess: 'cat' };
    expect((await faas.deploy('a', 'ghcr.io/openfaas/alpine', { ...asked, secrets: ['operator'] })).status).toBe(400);
    const elsewhere = { ...asked, namespace: 'other', secrets: ['mine'] };
    expect((await faas.deploy('a', 'ghcr.io/openfaas/alpine', elsewhere)).status).toBe(400);
  });

  it('makes namespaces by both spellings, and removes empty ones only', async () => {
    const { faas } = await startOpenFaas();
    const marked = { labels: { openfaas: '1' }, annotations: { openfaas: '1' } };
    expect(await faas.json('/system/namespaces')).toEqual(['openfaas-fn']);
    expect((await faas.deploy('up', 'ghcr.io/openfaas/alpine', { namespace: 'dev' })).status).toBe(400);
    expect((await faas.send('POST', '/system/namespace/', { name: 'dev' })).status).toBe(400);
    expect((await faas.send('POST', '/system/namespace/', { name: 'dev', ...marked })).status).toBe(201);
    expect((await faas.send('POST', '/system/namespaces', { name: 'dev', ...marked })).status).toBe(409);
    expect(await faas.json('/system/namespaces')).toEqual(['openfaas-fn', 'dev']);
    const up = { namespace: 'dev', envProcess: 'cat' };
    expect((await faas.deploy('up', 'ghcr.io/openfaas/alpine', up)).status).toBe(202);
    expect((await faas.invoke('up.dev', 'x')).text).toBe('x');
    expect(await faas.json('/system/functions?namespace=dev')).toHaveLength(1);
    expect((await faas.send('DELETE', '/system/namespace/dev', { name: 'dev' })).status).toBe(409);
    expect(
      (await faas.send('PUT', '/system/namespaces/dev', { name: 'dev', labels: { openfaas: '1', a: 'b' } })).status,
    ).toBe(202);
    expect(JSON.parse((await faas.send('GET', '/system/namespace/dev')).text)).toMatchObject({
      name: 'dev',
      labels: { a: 'b' },
    });
    await faas.send('DELETE', '/system/functions?namespace=dev', { functionName: 'up' });
    expect((await faas.send('DELETE', '/system/namespace/dev', { name: 'dev' })).status).toBe(202);
    expect((await faas.send('GET', '/system/namespace/dev')).status).toBe(404);
  });

  it('lets a token for one namespace deploy, keep secrets and scale there, and nowhere else', async () => {
    const { faas } = await startOpenFaas();
    await faas.send('POST', '/system/namespace/', { name: 'dev', labels: { openfaas: '1' } });
    await faas.deploy('up', 'ghcr.io/openfaas/alpine', { envProcess: 'cat' });
    const bearer = { authorization: `Bearer ${devToken}` };
    const asDev = (method: string, path: string, data?: unknown) => faas.send(method, path, data, bearer);
    const up = { service: 'up', image: 'ghcr.io/openfaas/alpine', envProcess: 'cat' };
    expect((await asDev('POST', '/system/functions', { ...up, namespace: 'dev' })).status).toBe(202);
    expect((await asDev('POST', '/system/secrets', { name: 'key', namespace: 'dev', value: 'v' })).status).toBe(202);
    expect((await asDev('POST', '/system/scale-function/up', { replicas: 2, namespace: 'dev' })).status).toBe(202);
    const listed = JSON.parse((await asDev('GET', '/system/functions')).text) as { namespace: string }[];
    expect(listed.map(({ namespace }) => namespace)).toEqual(['dev']);
    expect((await asDev('POST', '/system/functions', { ...up, service: 'b' })).status).toBe(403);
    expect((await asDev('PUT', '/system/functions', up)).status).toBe(404);
    expect((await asDev('DELETE', '/system/functions', { functionName: 'up' })).status).toBe(404);
    expect((await asDev('POST', '/system/secrets', { name: 'key', value: 'v' })).status).toBe(403);
    expect((await asDev('POST', '/system/scale-function/up', { replicas: 0 })).status).toBe(404);
    expect((await asDev('GET', '/system/dead-letters')).status).toBe(403);
    expect((await faas.invoke('up', 'still here')).text).toBe('still here');
  });

  it('tells what it is, and that it is ready', async () => {
    const { faas } = await startOpenFaas();
    const info = JSON.parse((await faas.send('GET', '/system/info')).text) as Record<string, Record<string, unknown>>;
    expect(info['provider']).toMatchObject({
      provider: 'millrace',
      version: { release: expect.any(String), sha: expect.any(String) },
    });
    expect(info['version']).toMatchObject({ release: expect.any(String), sha: expect.any(String) });
    expect((await faas.send('GET', '/healthz')).status).toBe(200);
  });

  it.each([
    [{ image: 'x' }, 'service'],
    [{ service: 'Bad_Name', image: 'x' }, 'service'],
    [{ service: 'a' }, 'image'],
    [{ service: 'a', image: 'unknown/image' }, 'images'],
    [{ service: 'a', image: 'x', labels: { 'com.openfaas.scale.min': 'few' } }, 'com.openfaas.scale.min'],
    [{ service: 'a', image: 'x', annotations: { 'com.openfaas.queue': 'nowhere' } }, 'nowhere'],
    [{ service: 'a', image: 'x', hostPath: '/etc' }, 'hostPath'],
    [{ service: 'a', image: 'ghcr.io/openfaas/alpine', envProcess: 'cat', limits: { cpu: '100m' } }, 'limits.cpu'],
    [{ service: 'a', image: 'ghcr.io/openfaas/alpine', envProcess: 'cat', constraints: ['disk=ssd'] }, 'disk=ssd'],
    [{ service: 'a', image: 'x', namespace: 'millrace' }, 'millrace'],
  ])('refuses %j, and names %s', async (asked, named) => {
    const { faas } = await startOpenFaas();
    const { status, text } = await faas.send('POST', '/system/functions', asked);
    expect([status, text]).toEqual([400, expect.stringContaining(named)]);
    expect(await faas.json('/system/functions')).toHaveLength(1);
  });

  it('leaves functions of the configuration to the configuration', async () => {
    const { faas } = await startOpenFaas();
    for (const { status } of [
      await faas.deploy('configured', 'ghcr.io/openfaas/alpine', { envProcess: 'cat' }),
      await faas.send('DELETE', '/system/functions', { functionName: 'configured' }),
    ])
      expect(status).toBe(409);
    expect((await faas.invoke('configured', 'still')).text).toBe('still');
  });

  it('deploys nothing where no provider takes it', async () => {
    const running = await testGateway('gateway: { listen: { port: 0 }, management: { port: 0 } }');
    cleanups.push(() => running[Symbol.asyncDispose]());
    const { status, text } = await faasCli(running.url).send('POST', '/system/functions', { service: 'a', image: 'x' });
    expect([status, text]).toEqual([403, expect.stringContaining('allowDeploy')]);
  });

  it('has what was deployed after a restart, and on another gateway on the same store', async () => {
    const first = await startOpenFaas();
    await first.faas.deploy('up', 'ghcr.io/openfaas/alpine', { envProcess: 'tr a-z A-Z' });
    await first.faas.send('POST', '/system/namespace/', { name: 'dev', labels: { openfaas: '1' } });
    for (const cleanup of cleanups.splice(0)) await cleanup();
    const second = await startOpenFaas('', first.folder);
    expect((await second.faas.invoke('up', 'hello')).text).toBe('HELLO');
    expect(await second.faas.json('/system/namespaces')).toEqual(['openfaas-fn', 'dev']);
    // A reload keeps it; one that takes its provider away is refused.
    expect(
      (await second.reload(openFaasYaml(first.folder, '  more: { provider: inline, behaviour: echo }\n'))).result,
    ).toBe('ok');
    expect((await second.faas.invoke('up', 'again')).text).toBe('AGAIN');
    const without = openFaasYaml(first.folder).replace('allowDeploy: true', 'allowDeploy: false');
    expect(await second.reload(without)).toMatchObject({
      result: 'failed',
      reasons: [expect.stringContaining('function up.openfaas-fn was deployed through the API')],
    });
    expect((await second.faas.invoke('up', 'still')).text).toBe('STILL');
  });
});

describe('a stack file of OpenFaaS', () => {
  it('is deployed by the command line, as the documentation has it', { timeout: 120_000 }, async () => {
    const { url, folder, faas } = await startOpenFaas();
    writeFileSync(join(folder, 'env.yml'), 'environment:\n  from_file: "yes"\n');
    // docs.openfaas.com/reference/yaml: the example, with what it says of each key.
    writeFileSync(
      join(folder, 'stack.yaml'),
      `version: 1.0
provider:
  name: openfaas
  gateway: http://127.0.0.1:8080
functions:
  url-ping:
    lang: python
    handler: ./sample/url_ping
    image: functions/figlet:\${TAG:-0.2}
    environment:
      read_timeout: 10
      write_debug: true
    environment_file:
      - env.yml
    labels:
      com.openfaas.scale.min: 1
      com.openfaas.scale.max: 3
    annotations:
      topic: payments
    limits:
      memory: 400Mi
`,
    );
    const millrace = promisify(execFile);
    const run = (...args: string[]) =>
      millrace(process.execPath, ['core/main.ts', ...args, '--url', url], {
        env: { ...process.env, MILLRACE_USER: 'admin', MILLRACE_PASSWORD: 'geheim' },
      });
    expect((await run('deploy', '-f', join(folder, 'stack.yaml'))).stdout).toBe('url-ping: deployed\n');
    expect((await faas.invoke('url-ping', 'hello')).text).toBe('HELLO');
    const described = await faas.send('GET', '/system/function/url-ping');
    expect(JSON.parse(described.text)).toMatchObject({
      image: 'functions/figlet:0.2',
      envVars: { read_timeout: '10', write_debug: 'true', from_file: 'yes' },
      labels: { 'com.openfaas.scale.max': '3' },
      annotations: { topic: 'payments' },
      limits: { memory: '400Mi' },
    });
    expect((await run('deploy', '-f', join(folder, 'stack.yaml'))).stdout).toBe('url-ping: deployed anew\n');
    expect((await run('logs', 'url-ping')).stdout).not.toBe('');
    expect((await run('remove', 'url-ping')).stdout).toContain('removed');
    await expect(run('remove', 'url-ping')).rejects.toMatchObject({ stderr: expect.stringContaining('no function') });
  });
});

// The real one, where it is: `go install github.com/openfaas/faas-cli@latest`.
const hasFaasCli = await promisify(execFile)('faas-cli', ['version', '--short-version']).then(
  () => true,
  () => false,
);
if (!hasFaasCli) process.stderr.write('faas-cli is not here: go install github.com/openfaas/faas-cli@latest\n');

describe.skipIf(!hasFaasCli)('faas-cli itself', () => {
  it('does all that it does with OpenFaaS', async () => {
    const { url, folder } = await startOpenFaas();
    const env = { ...process.env, HOME: folder, OPENFAAS_URL: url, OPENFAAS_CONFIG: folder };
    const faas = async (...args: string[]) => (await promisify(execFile)('faas-cli', args, { env })).stdout;
    const login = execFile('faas-cli', ['login', '-u', 'admin', '--password-stdin'], { env });
    login.stdin?.end('geheim');
    expect((await once(login, 'exit'))[0]).toBe(0);
    await faas('deploy', '--name', 'up', '--image', 'ghcr.io/openfaas/alpine:latest', '--fprocess', 'cat');
    expect(await faas('list')).toContain('up');
    expect(await faas('describe', 'up')).toContain('Ready');
    await faas('ready', 'up');
    const invoke = execFile('faas-cli', ['invoke', 'up'], { env });
    invoke.stdin?.end('hello');
    let text = '';
    invoke.stdout?.on('data', (chunk: string) => (text += chunk));
    await once(invoke, 'exit');
    expect(text).toContain('hello');
    const asynchronous = execFile('faas-cli', ['invoke', 'up', '--async'], { env });
    asynchronous.stdin?.end('hello');
    expect((await once(asynchronous, 'exit'))[0]).toBe(0);
    await faas('logs', 'up', '--follow=false');
    await faas('secret', 'create', 'key', '--from-literal', 'v');
    await faas('secret', 'update', 'key', '--from-literal', 'w');
    expect(await faas('secret', 'list')).toContain('key');
    await faas('secret', 'remove', 'key');
    expect(await faas('namespaces')).toContain('openfaas-fn');
    expect(await faas('version')).toContain('millrace');
    await faas('remove', 'up');
  });
});
