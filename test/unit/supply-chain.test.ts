import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import lockfile from '../../package-lock.json' with { type: 'json' };
import manifest from '../../package.json' with { type: 'json' };
import { isWithinRange } from '../../core/kit/version.ts';
import { refusalOfNode } from '../../core/node-version.ts';
import { denialOf, deniedVersions } from '../support/denied-versions.ts';
import { faultsOf, type Lock, type LockedPackage, most, productionOf } from '../support/supply-chain.ts';

const lock: Lock = lockfile.packages;
const root = join(import.meta.dirname, '../..');
const sound: LockedPackage = { version: '1.0.0', integrity: 'sha512-x', license: 'MIT' };

/** The lockfile with one production package more, that needs others. */
function withPackage(name: string, added: LockedPackage, dependencies: readonly string[] = []): Lock {
  const extra = Object.fromEntries(dependencies.map((one) => [`node_modules/${one}`, sound]));
  const needs = Object.fromEntries(dependencies.map((one) => [one, '1']));
  const own = { ...lock['']?.dependencies, [name]: '1' };
  return {
    ...lock,
    ...extra,
    '': { ...lock[''], dependencies: own },
    [`node_modules/${name}`]: { ...added, dependencies: needs },
  };
}

describe('what comes with Millrace', () => {
  it(`is at most ${most} packages, each from the registry, whole, free, without a script, and not denied`, () => {
    expect(faultsOf(lock)).toEqual([]);
    expect(productionOf(lock).length).toBeGreaterThan(20); // They are found at all.
  });

  it.each<[string, LockedPackage, string]>([
    [
      'from another host',
      { ...sound, resolved: 'https://registry.example.org/x.tgz' },
      'comes from https://registry.ex',
    ],
    ['without TLS', { ...sound, resolved: 'http://registry.npmjs.org/x.tgz' }, 'comes from http://'],
    ['by a host that begins alike', { ...sound, resolved: 'https://registry.npmjs.org.evil/x.tgz' }, 'comes from'],
    ['from git', { ...sound, resolved: 'git+ssh://git@github.com/a/x.git#1' }, 'comes from git+ssh:'],
    ['from a folder', { ...sound, link: true }, 'is a folder'],
    ['without integrity', { version: '1.0.0', license: 'MIT' }, 'has no integrity'],
    ['with a weak one', { ...sound, integrity: 'sha1-x' }, 'has no integrity'],
    ['without a licence', { version: '1.0.0', integrity: 'sha512-x' }, 'licence none'],
    ['under another licence', { ...sound, license: 'AGPL-3.0' }, 'licence AGPL-3.0'],
    ['that runs a script when it is installed', { ...sound, hasInstallScript: true }, 'has a script'],
  ])('would be found out %s', (_how, added, fault) => {
    expect(faultsOf(withPackage('added', added))).toEqual([expect.stringContaining(`node_modules/added: ${fault}`)]);
  });

  it('would be found out with one package too many', () => {
    const names = Array.from({ length: most - productionOf(lock).length }, (_, index) => `extra-${index}`);
    const expected = [`${most + 1} production packages, at most ${most}`];
    expect(faultsOf(withPackage('added', sound, names))).toEqual(expected);
    expect(faultsOf(withPackage('added', sound, names.slice(1)))).toEqual([]);
  });

  it.each([
    ['undici', '7.23.9', 'CVE-2026-1525'],
    ['undici', '6.0.0', 'CVE-2026-22036'],
    ['fastify', '5.3.1', 'CVE-2026-3635'],
    ['find-my-way', '9.0.0', 'CVE-2024-45813'],
    ['@fastify/reply-from', '12.6.3', 'GHSA-v574-6498-x57v'],
    ['http-proxy-middleware', '3.0.5', 'CVE-2026-55602'],
  ])('would be found out with %s %s, at any depth', (name, version, why) => {
    const deep = { ...lock, [`node_modules/zod/node_modules/${name}`]: { ...sound, version } };
    expect(faultsOf(deep)).toEqual([expect.stringMatching(new RegExp(`${version} is denied, .*${why}`))]);
  });

  it('denies what comes before the release that is mended, and no other line of releases', () => {
    for (const [name, all] of Object.entries(deniedVersions)) {
      for (const { fixed } of all) expect(denialOf(name, `${fixed}-rc.1`), name).toBeDefined();
      expect(denialOf(name, all.at(-1)?.fixed ?? ''), name).toBeUndefined();
    }
    expect(denialOf('undici', '6.24.0')).toBeUndefined();
    expect(denialOf('undici', '8.0.0')).toBeUndefined();
    expect(denialOf('constructor', '1.0.0')).toBeUndefined();
  });

  it('runs nothing of ours when it is installed', () => {
    const scripts = Object.keys(manifest.scripts);
    for (const name of ['preinstall', 'install', 'postinstall', 'prepare']) expect(scripts).not.toContain(name);
  });

  it('is named, all of it and nothing else, in the bill of materials', { timeout: 60_000 }, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'millrace-sbom-'));
    try {
      await promisify(execFile)(process.execPath, ['deploy/sbom.ts', join(folder, 'sbom.json')], { cwd: root });
      const bill = JSON.parse(await readFile(join(folder, 'sbom.json'), 'utf8')) as {
        bomFormat: string;
        components: { name: string; version: string; hashes: unknown[] }[];
      };
      expect(bill.bomFormat).toBe('CycloneDX');
      const named = bill.components.map(({ name, version }) => `${name}@${version}`);
      const expected = productionOf(lock).map((path) => `${path.split('node_modules/').at(-1)}@${lock[path]?.version}`);
      expect(named.toSorted()).toEqual(expected.toSorted());
      for (const { name, hashes } of bill.components) expect(hashes, name).toHaveLength(1);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe('the release of Node', () => {
  it.each(['24.18.1', '24.19.0', '26.5.1', '26.10.0', '27.0.0', process.versions.node])('%s will do', (version) => {
    expect(refusalOfNode(version)).toBeUndefined();
  });
  it.each(['18.20.0', '20.20.2', '22.23.2', '23.11.0', '24.18.0', '25.9.0', '26.5.0'])('%s is refused', (version) => {
    const refusal = refusalOfNode(version);
    expect(refusal).toContain(`Node ${version} does not run Millrace`);
    expect(refusal).toContain(manifest.engines.node);
  });
  it('is looked at before anything else is loaded', async () => {
    const other = 'Object.defineProperty(process.versions, "node", { value: "24.18.0" })';
    const args = ['--import', `data:text/javascript,${other}`, 'core/main.ts', '--version'];
    const failed = promisify(execFile)(process.execPath, args, { cwd: root });
    await expect(failed).rejects.toMatchObject({ code: 1, stderr: `${refusalOfNode('24.18.0')}\n`, stdout: '' });
  });
  it.each([
    ['1.2.3', '1.2.3', true],
    ['1.2.4', '1.2.3', false],
    ['1.2.3', '^1.2.3', true],
    ['1.10.0', '^1.2.3', true],
    ['1.2.2', '^1.2.3', false],
    ['2.0.0', '^1.2.3', false],
    ['10.0.0', '>=9.9.9', true],
    ['9.9.8', '>=9.9.9', false],
    ['3.1.0', '^1.0.0 || ^3.0.0', true],
    ['2.1.0', '^1.0.0 || ^3.0.0', false],
  ])('%s within %s: %s', (version, range, expected) => {
    expect(isWithinRange(version, range)).toBe(expected);
  });
  it('that may be used has none of the holes that are denied', () => {
    for (const version of ['22.23.1', '24.18.0', '25.0.0', '26.5.0']) expect(denialOf('node', version)).toBeDefined();
    for (const version of ['24.18.1', '26.5.1']) expect(denialOf('node', version)).toBeUndefined();
  });
});
