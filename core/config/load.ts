import { dirname, resolve } from 'node:path';
import { messageOf } from '../contracts/errors.ts';
import type { Registry } from '../host/registry.ts';
import { frozen } from './entries.ts';
import { type Merged, type Origin, readMerged } from './include.ts';
import { problem } from './issues.ts';
import { ConfigError, formatProblem, type Problem } from './problem.ts';
import { redacted } from './redact.ts';
import { resolveConfig } from './resolve.ts';
import type { Config } from './schema.ts';
import type { Environment } from './tree.ts';

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
  /** What it was made of, whatever is wrong with it. */
  readonly origin: Origin;
  /** In the order of the files and lines; each with `text`, as it is printed. */
  readonly problems: readonly (Problem & { readonly text: string })[];
}

/** Nobody reads more of them, and a file of nothing but mistakes has a hundred thousand. */
const maxProblems = 1000;

/**
 * Reads, merges and checks a configuration as a whole: everything that is wrong is found in one go, each with its
 * place. Never throws for what a file may say.
 */
export async function loadConfig(
  file: string,
  registry: Registry,
  defaults: ConfigDefaults,
  environment: Environment = process.env,
): Promise<Loaded> {
  const path = resolve(file);
  const merged = readMerged(path, file, environment);
  const problems: Problem[] = [];
  const secrets = merged.secrets.filter((secret) => secret.length > 0);
  let config: Config | undefined;
  if (merged.value) {
    await loadModules(merged, dirname(path), registry, problems);
    config = await resolveConfig(merged.value, registry, defaults, {
      source: merged,
      problems,
      secrets,
      read: merged.read,
    });
  }
  // What could not be put in is missing everywhere: it has been told where it stands.
  const told = new Set(merged.problems.map((one) => one.path).filter((one) => one !== ''));
  const all = [...merged.problems, ...problems.filter((one) => !told.has(one.path))];
  const shown = sorted(all, file).map((one) => withText(one, secrets));
  const failed = shown.some(({ severity }) => severity === 'error');
  return { origin: merged.origin, config: failed || !config ? undefined : frozen(config), problems: shown };
}

/**
 * The configuration, for those who can do nothing without.
 *
 * @throws ConfigError with every problem.
 */
export async function requireConfig(...given: Parameters<typeof loadConfig>): Promise<Config> {
  const { config, problems } = await loadConfig(...given);
  if (!config) throw new ConfigError(problems);
  return config;
}

async function loadModules(merged: Merged, folder: string, registry: Registry, problems: Problem[]): Promise<void> {
  const modules = merged.value?.['plugins'];
  if (!Array.isArray(modules)) return;
  for (const [index, name] of modules.entries()) {
    if (typeof name !== 'string') continue; // The schema says so.
    try {
      await registry.addModule(name, folder);
    } catch (error) {
      problems.push(problem(['plugins', index], messageOf(error), merged));
    }
  }
}

/** The main file first, then as in the files. */
function sorted(problems: readonly Problem[], main: string): readonly Problem[] {
  const order = problems.toSorted(
    (a, b) =>
      Number(b.file === main) - Number(a.file === main) ||
      a.file.localeCompare(b.file) ||
      a.line - b.line ||
      a.column - b.column,
  );
  if (order.length <= maxProblems) return order;
  const message = `${order.length - maxProblems} more problems are not shown`;
  return [...order.slice(0, maxProblems), { file: main, line: 1, column: 1, path: '', message, severity: 'error' }];
}

/** A message may hold a value, and a value may be a secret that stands where it should not. */
function withText(one: Problem, secrets: readonly string[]): Problem & { readonly text: string } {
  const message = String(
    redacted(
      one.message,
      secrets.filter((secret) => secret.length >= 4),
    ),
  );
  const safe = { ...one, message };
  return { ...safe, text: formatProblem(safe) };
}
