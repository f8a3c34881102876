import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import lockfile from '../../package-lock.json' with { type: 'json' };
import { startGateway, stopGateway } from '../support/gateway-process.ts';
import { type Lock, productionOf } from '../support/supply-chain.ts';

const root = join(import.meta.dirname, '../..');
const run = promisify(execFile);
let folder = '';

// As a release is installed: no tools, no peers, and no package runs a script of its own. Node itself comes with such a script,
// so that the one which runs the tests is used.
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-installed-'));
  for (const part of ['core', 'connectors', 'plugins', 'package.json', 'package-lock.json'])
    await cp(join(root, part), join(folder, part), { recursive: true });
  const options = ['--omit=dev', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund'];
  await run('npm', ['ci', ...options], { cwd: folder });
}, 120_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

async function configuration(name: string, yaml: string): Promise<string> {
  const file = join(folder, `${name}.yaml`);
  await writeFile(file, `gateway: { listen: { port: 0 }, management: { port: 0 } }\n${yaml}`);
  return file;
}

/** A command of the installed tree: its code and what it wrote. */
async function millrace(...args: readonly string[]): Promise<{ code: unknown; text: string }> {
  const options = { cwd: folder, env: { PATH: process.env['PATH'], NODE_COMPILE_CACHE: join(folder, '.cache') } };
  try {
    const { stdout, stderr } = await run(process.execPath, ['core/main.ts', ...args], options);
    return { code: 0, text: stdout + stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: unknown; stdout: string; stderr: string };
    return { code, text: stdout + stderr };
  }
}

const needsMore = `
connections: { plant: { kind: mqtt, clientId: a } }
providers:
  cluster: { kind: kubernetes }
  worker: { kind: worker }
`;

describe('a gateway with its production packages only', () => {
  it('has those of the lockfile and no others', async () => {
    const { packages } = JSON.parse(await readFile(join(folder, 'node_modules/.package-lock.json'), 'utf8')) as {
      packages: object;
    };
    expect(Object.keys(packages).toSorted()).toEqual(productionOf(lockfile.packages as Lock));
  });

  it(
    'runs functions of every provider but kubernetes, at once and through the queue',
    { timeout: 60_000 },
    async () => {
      const upstream = createServer((_request, response) => void response.end('from elsewhere'));
      await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve));
      const address = upstream.address();
      const port = typeof address === 'object' && address ? address.port : 0;
      await writeFile(join(folder, 'echo.ts'), 'export default async ({ body }) => body;\n');
      const file = await configuration(
        'runs',
        `providers: { worker: { kind: worker }, process: { kind: process }, http: { kind: http } }
functions:
  pooled: { module: ./echo.ts, provider: worker }
  inline: { module: ./echo.ts, provider: worker, isolation: none }
  command: { command: [cat], provider: process }
  elsewhere: { url: "http://127.0.0.1:${port}", provider: http }
`,
      );
      const gateway = await startGateway(file, { NODE_COMPILE_CACHE: join(folder, '.cache') }, { folder });
      try {
        const call = async (path: string): Promise<unknown[]> => {
          const { statusCode, headers, body } = await request(`${gateway.url}${path}`, {
            method: 'POST',
            body: 'hello',
          });
          const text = await body.text();
          return statusCode === 202 ? [headers['x-durability'], headers.location] : [statusCode, text];
        };
        for (const name of ['pooled', 'inline', 'command'])
          expect(await call(`/function/${name}`)).toEqual([200, 'hello']);
        expect(await call('/function/elsewhere')).toEqual([200, 'from elsewhere']);
        const [durability, location] = await call('/async-function/pooled');
        expect(durability).toBe('disk');
        const { body } = await request(`${gateway.url}${String(location)}/result?wait=30s`);
        expect(await body.text()).toBe('hello');
      } finally {
        expect(await stopGateway(gateway)).toBe(0);
        upstream.close();
      }
    },
  );

  it(
    'says where a configuration needs a package that is not there, and how to get it',
    { timeout: 60_000 },
    async () => {
      const file = await configuration('needs-more', needsMore);
      for (const command of [
        ['check', file],
        ['serve', '--config', file],
      ]) {
        const { code, text } = await millrace(...command);
        expect(code, text).toBe(2);
        expect(text).toContain(`${file}:3:25 connections.plant.kind: needs mqtt, which Millrace does not bring`);
        expect(text).toContain('npm install mqtt@5.16.0');
        expect(text).toContain(`${file}:5:14 providers.cluster.kind: needs @kubernetes/client-node, which`);
        expect(text).toContain('npm install @kubernetes/client-node@^2.0.1');
      }
    },
  );

  it('says when one is there in a version that it does not work with', { timeout: 60_000 }, async () => {
    const file = await configuration('other-version', needsMore);
    const install = async (name: string, version: string): Promise<void> => {
      await mkdir(join(folder, 'node_modules', name), { recursive: true });
      await writeFile(join(folder, 'node_modules', name, 'package.json'), JSON.stringify({ name, version }));
    };
    await install('mqtt', '5.17.0');
    await install('@kubernetes/client-node', '2.0.0');
    const { code, text } = await millrace('check', file);
    expect([code, text]).toEqual([2, expect.stringContaining('needs another version of mqtt than 5.17.0')]);
    expect(text).toContain('needs another version of @kubernetes/client-node than 2.0.0');
  });
});
