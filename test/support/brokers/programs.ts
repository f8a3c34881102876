import { accessSync, constants, existsSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { exclusively } from './exclusively.ts';
import { finished } from './finished.ts';
import type { Recipe } from './plan.ts';

/** Servers are often kept where only root looks. RabbitMQ's own script comes first: Debian's other one changes the user. */
const more = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/opt/homebrew/bin', '/opt/homebrew/sbin'];
const first = ['/usr/lib/rabbitmq/bin'];

/** What is to be found. `variable` names what to set where it runs elsewhere. */
type Wanted = Pick<Recipe, 'programs' | 'packages'> & { readonly variable?: string };

/** Thrown when a broker is not here and cannot be had. The message says what is missing, and how to get it. */
export class BrokerMissing extends Error {
  override readonly name = 'BrokerMissing';
}

/**
 * Where the programs of a recipe are, installed first if need be and if this is Debian and the user is root.
 * `MILLRACE_TEST_INSTALL=0`: never installed.
 */
export async function programsOf(recipe: Wanted): Promise<Readonly<Record<string, string>>> {
  if (absent(recipe).length > 0 && recipe.packages.length > 0 && mayInstall()) {
    await exclusively('apt', async () => {
      if (absent(recipe).length > 0) await install(recipe.packages);
    });
  }
  const missing = absent(recipe);
  if (missing.length > 0) {
    const or = recipe.variable === undefined ? '' : `, or set ${recipe.variable} to the address of one that runs`;
    const how = `apt-get install ${recipe.packages.join(' ')}${or}`;
    throw new BrokerMissing(`${missing.join(' and ')} not found: ${how}`);
  }
  return Object.fromEntries(recipe.programs.map((program) => [program, find(program) ?? '']));
}

function absent({ programs }: Wanted): readonly string[] {
  return programs.filter((program) => find(program) === undefined);
}

function find(program: string): string | undefined {
  const folders = [...first, ...(process.env['PATH'] ?? '').split(delimiter), ...more];
  return folders.map((folder) => join(folder, program)).find(isExecutable);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false; // Not there, or not ours to run.
  }
}

function mayInstall(): boolean {
  if (process.env['MILLRACE_TEST_INSTALL'] === '0') return false;
  return process.getuid?.() === 0 && existsSync('/etc/debian_version') && find('apt-get') !== undefined;
}

const policy = '/usr/sbin/policy-rc.d';

async function install(packages: readonly string[]): Promise<void> {
  process.stderr.write(`installing ${packages.join(', ')} for the tests\n`);
  const env = { DEBIAN_FRONTEND: 'noninteractive' };
  const patient = ['-q', '-o', 'DPkg::Lock::Timeout=300'];
  // Debian starts what it installs. The tests start their own, and the machine's is none of their business.
  const isOurs = !existsSync(policy);
  if (isOurs) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    const packagesToo = ['install', '-y', '--no-install-recommends', ...packages];
    await finished('apt-get', [...patient, ...packagesToo], env).catch(async () => {
      await finished('apt-get', [...patient, 'update'], env); // The lists are old, or there are none yet.
      await finished('apt-get', [...patient, ...packagesToo], env);
    });
  } finally {
    if (isOurs) rmSync(policy, { force: true });
  }
}
