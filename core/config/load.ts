import { globSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { messageOf } from '../contracts/errors.ts';
import type { Registry } from '../host/registry.ts';
import { type Source, problem } from './issues.ts';
import { formatProblem, type Place, type Problem } from './problem.ts';
import { resolveConfig } from './resolve.ts';
import type { Config } from './schema.ts';
import { type Path, readTree, type Tree } from './tree.ts';

/** One plugin's part of a configuration. */
type PluginDefaults = Readonly<Record<string, unknown>> & { readonly kind: string };

/** What is there when a configuration says nothing of it. Given by main: core knows no plugin. */
export interface ConfigDefaults {
  readonly queues: Readonly<Record<string, PluginDefaults>>;
  readonly stores: Readonly<Record<string, PluginDefaults>>;
  readonly providers: Readonly<Record<string, PluginDefaults>>;
  readonly connectors: Readonly<Record<string, PluginDefaults>>;
}

export interface Loaded {
  /** Undefined when there is any error. */
  readonly config: Config | undefined;
  /** In the order of the files and lines; each with `text`, as it is printed. */
  readonly problems: readonly (Problem & { readonly text: string })[];
}

/** Maps that may be spread over several files. */
const mergeable = ['queues', 'stores', 'providers', 'functions', 'connectors'] as const;

/**
 * Reads, merges and checks a configuration as a whole: everything that is wrong is found in one go, each with its
 * place. Never throws for what a file may say.
 */
export async function loadConfig(
  file: string,
  registry: Registry,
  defaults: ConfigDefaults,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<Loaded> {
  const path = resolve(file);
  const main = readTree(path, file, environment);
  const problems: Problem[] = [...main.problems];
  let config: Config | undefined;
  if (main.value !== undefined && problems.length === 0) {
    const merged = merge(main, path, environment, problems);
    await loadModules(merged.value, merged, dirname(path), registry, problems);
    config = await resolveConfig(merged.value, merged, registry, defaults, problems);
  }
  const sorted = problems
    .toSorted((a, b) => a.file.localeCompare(b.file) || a.line - b.line || a.column - b.column)
    .map((one) => ({ ...one, text: formatProblem(one) }));
  return { config: sorted.some(({ severity }) => severity === 'error') ? undefined : config, problems: sorted };
}

interface Merged extends Source {
  readonly value: Record<string, unknown>;
}

/** Puts the maps of the included files beside those of the main one. A name that comes twice is an error. */
function merge(
  main: Tree,
  path: string,
  environment: Readonly<Record<string, string | undefined>>,
  problems: Problem[],
): Merged {
  const value = main.value as Record<string, unknown>;
  if ('triggers' in value) {
    if ('connectors' in value)
      problems.push(problem(['triggers'], 'is another word for connectors: use one of them', main));
    else value['connectors'] = value['triggers'];
    delete value['triggers'];
  }
  const owners = new Map<string, Tree>();
  const ownerOf = (at: Path): Tree => owners.get(`${at[0]}\u0000${at[1]}`) ?? main;
  const merged: Merged = {
    value,
    place: (at) =>
      ownerOf(at).place(at) ?? (at[0] === 'connectors' ? main.place(['triggers', ...at.slice(1)]) : undefined),
    interpolated: (at) => ownerOf(at).interpolated(at),
  };
  const include = value['include'];
  if (!Array.isArray(include)) return merged;
  for (const [index, pattern] of include.entries()) {
    if (typeof pattern !== 'string') continue; // The schema says so.
    const files = globSync(pattern, { cwd: dirname(path) }).toSorted();
    if (files.length === 0) problems.push(problem(['include', index], `no file matches "${pattern}"`, main, 'warning'));
    for (const file of files) {
      const full = join(dirname(path), file);
      const tree = readTree(full, relative(process.cwd(), full), environment);
      problems.push(...tree.problems);
      if (tree.problems.length > 0) continue;
      for (const [key, entries] of Object.entries(tree.value as Record<string, unknown>)) {
        if (!(mergeable as readonly string[]).includes(key)) {
          problems.push(problem([key], `an included file may hold ${mergeable.join(', ')} only`, tree));
          continue;
        }
        if (typeof entries !== 'object' || entries === null || Array.isArray(entries)) {
          problems.push(problem([key], 'expected a map of names', tree));
          continue;
        }
        const map = (value[key] ??= {}) as Record<string, unknown>;
        for (const [name, entry] of Object.entries(entries)) {
          const first = Object.hasOwn(map, name) ? merged.place([key, name]) : undefined;
          if (first) {
            problems.push(problem([key, name], `is already defined at ${placeText(first)}`, tree));
            continue;
          }
          map[name] = entry;
          owners.set(`${key}\u0000${name}`, tree);
        }
      }
    }
  }
  return merged;
}

async function loadModules(
  value: Record<string, unknown>,
  source: Source,
  folder: string,
  registry: Registry,
  problems: Problem[],
): Promise<void> {
  const modules = value['plugins'];
  if (!Array.isArray(modules)) return;
  for (const [index, name] of modules.entries()) {
    if (typeof name !== 'string') continue;
    try {
      await registry.addModule(name, folder);
    } catch (error) {
      problems.push(problem(['plugins', index], messageOf(error), source));
    }
  }
}

function placeText({ file, line, column }: Place): string {
  return `${file}:${line}:${column}`;
}
