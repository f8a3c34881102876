import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import lockfile from '../../package-lock.json' with { type: 'json' };
import manifest from '../../package.json' with { type: 'json' };
import { type GatewayProcess, startGateway } from './gateway-process.ts';
import { type Lock, productionOf } from './supply-chain.ts';

const root = join(import.meta.dirname, '../..');
const execute = promisify(execFile);

/** The command that the package brings, in the folder into which it was installed. */
export const millrace = ['node_modules/.bin/millrace'] as const;
/** The same, as it is said by hand. Offline: one that is not there is not looked for elsewhere. */
export const npxMillrace = ['npx', '--offline', 'millrace'] as const;

const tarball = `${manifest.name}-${manifest.version}.tgz`;
const packed = `core connectors plugins config docs package.json tsconfig.json tsconfig.build.json tsconfig.types.json
README.md CHANGELOG.md SECURITY.md LICENSE`.split(/\s/);

/** What a command came to. */
export interface Ran {
  readonly code: unknown;
  /** Both of its outputs. */
  readonly text: string;
}

/** A folder of a user into which the release was installed, from the tarball that would be published. */
export interface Installed {
  readonly folder: string;
  /** Of the package, by their paths in it. */
  readonly files: readonly string[];
  /** Runs a command there, by the Node that runs the tests or the one given. */
  run(command: readonly string[], node?: string): Promise<Ran>;
  /** A gateway on a configuration there, by the command that the package brings. */
  serve(file: string, node?: string): Promise<GatewayProcess>;
  dispose(): Promise<void>;
}

/**
 * Packs a copy of this tree, and installs it as a user does: no tools, no peers, and no package runs a script of its own.
 * The packages are those of the lockfile, so that the registry is asked for nothing that `npm ci` has not brought already.
 */
export async function installRelease(): Promise<Installed> {
  const all = await mkdtemp(join(tmpdir(), 'millrace-release-'));
  const [source, folder] = [join(all, 'source'), join(all, 'user')];
  await mkdir(folder);
  for (const part of packed) await cp(join(root, part), join(source, part), { recursive: true });
  await symlink(join(root, 'node_modules'), join(source, 'node_modules'));
  await execute('npm', ['pack', '--pack-destination', folder], { cwd: source, env: environment(process.execPath) });
  await writeFile(join(folder, 'package.json'), JSON.stringify(user));
  await writeFile(join(folder, 'package-lock.json'), JSON.stringify(userLock()));
  const options = ['--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund'];
  await execute('npm', ['ci', ...options], { cwd: folder });
  const entries = await readdir(join(folder, 'node_modules/millrace'), { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name).slice(join(folder, 'node_modules/millrace/').length));
  return {
    folder,
    files,
    run: ([program = '', ...args], node = process.execPath) => runIn(folder, program, args, node),
    serve: (file, node = process.execPath) => startGateway(file, environment(node), { folder, millrace }),
    dispose: () => rm(all, { recursive: true, force: true }),
  };
}

const user = {
  name: 'user',
  version: '1.0.0',
  private: true,
  type: 'module',
  dependencies: { millrace: `file:${tarball}` },
};

/** A lockfile of the user's, with what ours says of the packages that a release needs. */
function userLock(): object {
  const { devDependencies: _, exports: __, scripts: ___, ...own } = manifest;
  const production = productionOf(lockfile.packages as Lock).map((path) => [path, (lockfile.packages as Lock)[path]]);
  const packages = {
    '': user,
    'node_modules/millrace': { ...own, resolved: `file:${tarball}` },
    ...Object.fromEntries(production),
  };
  return { name: user.name, version: user.version, lockfileVersion: 3, requires: true, packages };
}

function environment(node: string): Readonly<Record<string, string>> {
  const { HOME = '', PATH = '' } = process.env;
  return {
    HOME,
    PATH: [dirname(node), PATH].join(delimiter),
    NODE_COMPILE_CACHE: join(root, '.compile-cache'),
  };
}

async function runIn(folder: string, program: string, args: readonly string[], node: string): Promise<Ran> {
  try {
    const { stdout, stderr } = await execute(program, args, { cwd: folder, env: environment(node) });
    return { code: 0, text: stdout + stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: unknown; stdout: string; stderr: string };
    return { code, text: stdout + stderr };
  }
}
