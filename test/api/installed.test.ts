import { cp, mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { dirname, join } from 'node:path';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import lockfile from '../../package-lock.json' with { type: 'json' };
import manifest from '../../package.json' with { type: 'json' };
import { startGateway, stopGateway } from '../support/gateway-process.ts';
import { childrenOf } from '../support/processes.ts';
import { isLong } from '../support/promise.ts';
import { type Installed, installRelease, millrace, npxMillrace, type Ran } from '../support/release.ts';
import { type Lock, productionOf } from '../support/supply-chain.ts';

const root = join(import.meta.dirname, '../..');
let release: Installed;
beforeAll(async () => {
  release = await installRelease();
}, 300_000);
afterAll(() => release.dispose());

async function configuration(name: string, yaml: string): Promise<string> {
  const file = join(release.folder, `${name}.yaml`);
  await writeFile(file, `gateway: { listen: { port: 0 }, management: { port: 0 } }\n${yaml}`);
  return file;
}

function run(...args: readonly string[]): Promise<Ran> {
  return release.run([...millrace, ...args]);
}

const needsMore = `
connections: { plant: { kind: mqtt, clientId: a } }
providers:
  cluster: { kind: kubernetes }
  worker: { kind: worker }
`;

const needed =
  `LICENSE README.md CHANGELOG.md config/schema.json docs/configuration.md dist/package.json dist/core/main.js
dist/core/index.d.ts dist/core/testing/index.d.ts dist/core/ui/index.html`.split(/\s/);
const compiled = /^dist\/(core|connectors|plugins)\/.*(\.js|\.d\.ts)$/;
const others = /^(dist\/core\/ui\/[\w.]+|docs\/[\w-]+\.md|SECURITY\.md|package\.json)$/;

/** What is missing from a package, or has no place in it. */
function faultsOf(files: readonly string[]): string[] {
  const strange = (file: string): boolean =>
    /\.test\./.test(file) || !(needed.includes(file) || compiled.test(file) || others.test(file));
  return [
    ...needed.filter((file) => !files.includes(file)).map((file) => `${file} is missing`),
    ...files.filter(strange).map((file) => `${file} has no place in it`),
  ];
}

describe('the package', () => {
  it('has what is compiled, the types of what is exported and the pages, and nothing else', () => {
    expect(faultsOf(release.files)).toEqual([]);
    const planted = [
      'dist/core/a.test.js',
      'dist/core/main.js.map',
      'core/main.ts',
      'docs/grafana/millrace.json',
      '.env',
    ];
    const without = release.files.filter((file) => file !== 'LICENSE');
    expect(faultsOf([...without, ...planted])).toHaveLength(1 + planted.length);
  });

  it('is published as its manifest says it: npm has nothing to mend', async () => {
    const folder = join(release.folder, 'manifest');
    const fixed = async (text: string): Promise<string> => {
      await mkdir(folder, { recursive: true });
      await writeFile(join(folder, 'package.json'), text);
      const { code, text: said } = await release.run(['npm', 'pkg', 'fix', '--prefix', folder]);
      expect(code, said).toBe(0);
      return readFile(join(folder, 'package.json'), 'utf8');
    };
    const text = await readFile(join(root, 'package.json'), 'utf8');
    expect(await fixed(text)).toBe(text);
    // npm would take such a command away when it publishes it.
    const wrong = text.replace('"millrace": "dist/', '"millrace": "./dist/');
    expect(await fixed(wrong)).not.toBe(wrong);
  });
});

describe('a gateway with its production packages only', () => {
  it('has those of the lockfile and no others', async () => {
    const { packages } = JSON.parse(
      await readFile(join(release.folder, 'node_modules/.package-lock.json'), 'utf8'),
    ) as {
      packages: object;
    };
    expect(Object.keys(packages).toSorted()).toEqual(
      ['node_modules/millrace', ...productionOf(lockfile.packages as Lock)].toSorted(),
    );
  });

  it(
    'runs functions of every provider but kubernetes, at once and through the queue',
    { timeout: 120_000 },
    async () => {
      const upstream = createServer((_request, response) => void response.end('from elsewhere'));
      await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve));
      const address = upstream.address();
      const port = typeof address === 'object' && address ? address.port : 0;
      await writeFile(join(release.folder, 'echo.ts'), 'export default async ({ body }) => body;\n');
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
      const gateway = await release.serve(file);
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
    { timeout: 120_000 },
    async () => {
      const file = await configuration('needs-more', needsMore);
      for (const command of [
        ['check', file],
        ['serve', '--config', file],
      ]) {
        const { code, text } = await run(...command);
        expect(code, text).toBe(2);
        expect(text).toContain(`${file}:3:25 connections.plant.kind: needs mqtt, which Millrace does not bring`);
        expect(text).toContain('npm install mqtt@5.16.0');
        expect(text).toContain(`${file}:5:14 providers.cluster.kind: needs @kubernetes/client-node, which`);
        expect(text).toContain('npm install @kubernetes/client-node@^2.0.1');
      }
    },
  );

  it('says when one is there in a version that it does not work with', { timeout: 120_000 }, async () => {
    const file = await configuration('other-version', needsMore);
    const install = async (name: string, version: string): Promise<void> => {
      await mkdir(join(release.folder, 'node_modules', name), { recursive: true });
      await writeFile(join(release.folder, 'node_modules', name, 'package.json'), JSON.stringify({ name, version }));
    };
    await install('mqtt', '5.17.0');
    await install('@kubernetes/client-node', '2.0.0');
    const { code, text } = await run('check', file);
    expect([code, text]).toEqual([2, expect.stringContaining('needs another version of mqtt than 5.17.0')]);
    expect(text).toContain('needs another version of @kubernetes/client-node than 2.0.0');
  });
});

describe('plugins of somebody else, in TypeScript', () => {
  const consumer = join(root, 'test/fixtures/consumer');
  // His tools: how they are downloaded is not what is tested.
  const tools = ['vitest', 'fast-check', 'typescript', '@types/node', 'undici-types'];

  beforeAll(async () => {
    const { folder } = release;
    await cp(consumer, folder, { recursive: true });
    await cp(join(consumer, 'notes-contract.ts'), join(folder, 'notes.test.ts'));
    for (const tool of tools) {
      await mkdir(dirname(join(folder, 'node_modules', tool)), { recursive: true });
      await symlink(join(root, 'node_modules', tool), join(folder, 'node_modules', tool));
    }
  });

  it('are known by their kind, and checked by their schema', { timeout: 120_000 }, async () => {
    expect(await release.run([...npxMillrace, '--version'])).toEqual({ code: 0, text: `${manifest.version}\n` });
    const right = await run('check', 'millrace.yaml');
    expect(right.code, right.text).toBe(0);
    const yaml = await readFile(join(release.folder, 'millrace.yaml'), 'utf8');
    await writeFile(join(release.folder, 'wrong.yaml'), yaml.replace('most: 50', 'most: 0'));
    const wrong = await run('check', 'wrong.yaml');
    expect([wrong.code, wrong.text]).toEqual([2, expect.stringContaining('wrong.yaml:3:35 stores.default.most')]);
  });

  it('run in a gateway', { timeout: 120_000 }, () => runsTicks());

  it('run in one that `npx millrace serve` starts', { timeout: 120_000 }, async () => {
    const { folder } = release;
    const gateway = await startGateway(join(folder, 'millrace.yaml'), {}, { folder, millrace: npxMillrace });
    let pid = gateway.child.pid ?? 0;
    for (let [child] = childrenOf(pid); child; [child] = childrenOf(pid)) pid = child.pid;
    // The gateway itself is told: npx would end, and leave it behind.
    process.kill(pid, 'SIGTERM');
    expect(await gateway.ended).toBe(0);
  });

  it.runIf(isLong)('and by the Node 24 that `engines` allows', { timeout: 300_000 }, async () => {
    const node = `node-${process.platform}-${process.arch}`;
    const elsewhere = join(release.folder, 'node24');
    const { code, text } = await release.run([
      'npm',
      'install',
      '--ignore-scripts',
      '--prefix',
      elsewhere,
      `${node}@24`,
    ]);
    expect(code, text).toBe(0);
    const program = join(elsewhere, 'node_modules', node, 'bin/node');
    expect((await release.run(['node', '--version'], program)).text).toMatch(/^v24\./);
    await runsTicks(program);
    expect((await release.run(contract, program)).text).toMatch(/Tests .* passed/);
  });

  it.each([
    ['nodenext', 'nodenext'],
    ['esnext', 'bundler'],
  ])('have types that are strict, for modules %s resolved as %s', { timeout: 120_000 }, async (module, resolution) => {
    const checked = ['node', 'node_modules/typescript/bin/tsc', '--module', module, '--moduleResolution', resolution];
    // Some of it must be found wrong, as `types.ts` says.
    const { code, text } = await release.run([...checked, '-p', '.']);
    expect(code, text).toBe(0);
  });

  const contract = ['node', 'node_modules/vitest/vitest.mjs', 'run', 'notes.test.ts'];

  it('are held to the contract by the suites that are published', { timeout: 120_000 }, async () => {
    const right = await release.run(contract);
    expect(right.code, right.text).toBe(0);
    const file = join(release.folder, 'notes.ts');
    const text = await readFile(file, 'utf8');
    await writeFile(file, text.replace('this.#clock.now() + ttlMs', 'Infinity'));
    const wrong = await release.run(contract);
    await writeFile(file, text);
    expect(wrong.code).toBe(1);
    expect(wrong.text).toContain('forgets a record when its time is over');
  });

  async function runsTicks(node?: string): Promise<void> {
    const runs = join(release.folder, 'runs');
    await writeFile(runs, '');
    const gateway = await release.serve(join(release.folder, 'millrace.yaml'), node);
    try {
      await expect.poll(async () => (await stat(runs)).size, { timeout: 30_000 }).toBeGreaterThan(2);
    } finally {
      expect(await stopGateway(gateway)).toBe(0);
    }
  }
});
