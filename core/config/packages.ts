import { readFileSync } from 'node:fs';
import { findPackageJSON } from 'node:module';
import manifest from '../../package.json' with { type: 'json' };
import type { PluginDefinition } from '../contracts/definition.ts';
import { isWithinRange } from '../kit/version.ts';

/** What Millrace does not bring, with the versions that it works with. */
const ranges: Readonly<Record<string, string | undefined>> = manifest.peerDependencies;

/** What is wrong with the packages that a plugin needs, as a sentence; undefined when they are there. */
export function missingPackages({ packages = [] }: Pick<PluginDefinition, 'packages'>): string | undefined {
  const wrong = packages.flatMap((name) => {
    const found = installedVersion(name);
    return found !== undefined && isWithinRange(found, ranges[name] ?? found) ? [] : { name, found };
  });
  if (wrong.length === 0) return undefined;
  const needs = wrong.map(({ name, found }) =>
    found === undefined ? name : `another version of ${name} than ${found}`,
  );
  return `needs ${needs.join(' and ')}, which Millrace does not bring: ${installing(wrong.map(({ name }) => name))}`;
}

/** The versions of these that Millrace works with, as a package.json has them. */
export function peerVersions(packages: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(packages.map((name) => [name, ranges[name] ?? '*']));
}

/** `npm install mqtt@5.16.0`. */
export function installing(packages: readonly string[]): string {
  const wanted = packages.map((name) => (ranges[name] === undefined ? name : `${name}@${ranges[name]}`));
  return `npm install ${wanted.join(' ')}`;
}

/** Of the package that an import from here finds. */
function installedVersion(name: string): string | undefined {
  let file: string | undefined;
  try {
    file = findPackageJSON(name, import.meta.url);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
  }
  return file === undefined ? undefined : (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
