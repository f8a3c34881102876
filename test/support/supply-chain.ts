import { denialOf } from './denied-versions.ts';

/** One package of package-lock.json (version 3). */
export interface LockedPackage {
  readonly version?: string;
  readonly resolved?: string;
  readonly integrity?: string;
  readonly license?: string;
  readonly link?: boolean;
  readonly hasInstallScript?: boolean;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

/** By path: `node_modules/a/node_modules/b`; the root is ''. */
export type Lock = Readonly<Record<string, LockedPackage>>;

export const most = 60;
const registry = 'https://registry.npmjs.org/';
const free = new Set([
  'MIT',
  'Apache-2.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'ISC',
  '0BSD',
  'BlueOak-1.0.0',
  'Unlicense',
]);

/** What `npm install millrace` brings: the paths of everything that the root needs to run. */
export function productionOf(lock: Lock): string[] {
  const found = new Set<string>();
  const waiting = [''];
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    const { dependencies, optionalDependencies } = lock[path] ?? {};
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      const target = resolved(lock, path, name);
      if (target === undefined) throw new Error(`${path || 'the root'} needs ${name}, and the lockfile has none`);
      if (found.has(target)) continue;
      found.add(target);
      waiting.push(target);
    }
  }
  return [...found].toSorted();
}

/** As Node looks for it: beside the package, then further up. */
function resolved(lock: Lock, from: string, name: string): string | undefined {
  let folder = from;
  for (;;) {
    const path = `${folder === '' ? '' : `${folder}/`}node_modules/${name}`;
    if (lock[path]) return path;
    if (folder === '') return undefined;
    folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/node_modules/')));
  }
}

/** What is wrong with a lockfile, one line each. */
export function faultsOf(lock: Lock): string[] {
  const production = productionOf(lock);
  const faults = Object.entries(lock).flatMap(([path, one]) => (path === '' ? [] : faultsOfPackage(path, one)));
  if (production.length > most) faults.push(`${production.length} production packages, at most ${most}`);
  for (const path of production) {
    const { license = 'none', hasInstallScript } = lock[path] ?? {};
    if (!license.split(/ OR |[()]/).some((word) => free.has(word))) faults.push(`${path}: licence ${license}`);
    if (hasInstallScript) faults.push(`${path}: has a script of its own at installation`);
  }
  return faults;
}

function faultsOfPackage(path: string, { version = '', resolved, integrity, link }: LockedPackage): string[] {
  const faults: string[] = [];
  const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
  if (!path.includes('node_modules/') || link) faults.push(`${path}: is a folder, no package of the registry`);
  // Without an address npm takes the registry that it is configured for.
  if (resolved !== undefined && !resolved.startsWith(registry)) faults.push(`${path}: comes from ${resolved}`);
  if (!integrity?.startsWith('sha512-')) faults.push(`${path}: has no integrity`);
  if (!/^\d+\.\d+\.\d+/.test(version)) faults.push(`${path}: version ${version}`);
  const denial = denialOf(name, version);
  if (denial !== undefined) faults.push(`${path}: ${version} is denied, ${denial}`);
  return faults;
}
