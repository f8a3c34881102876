import { readFileSync } from 'node:fs';
import { createRequire, findPackageJSON } from 'node:module';
import { dirname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { z } from 'zod';
import { type PluginDefinition, type PluginType, pluginTypes } from '../contracts/definition.ts';
import { messageOf, MillraceError } from '../contracts/errors.ts';

/** One line a kind: the module is loaded only when a configuration names it. */
export type LazyPlugins = Readonly<Record<string, () => Promise<{ readonly default: PluginDefinition }>>>;

/** The plugins that come with Millrace, by their type and kind. */
export interface BuiltIns {
  readonly connections: LazyPlugins;
  readonly connectors: LazyPlugins;
  readonly queues: LazyPlugins;
  readonly stores: LazyPlugins;
  readonly providers: LazyPlugins;
}

/** The kinds of plugins that a configuration may name. Built-ins and those of others are registered alike. */
export class Registry {
  readonly #plugins: Readonly<Record<PluginType, Map<string, () => Promise<PluginDefinition>>>>;
  readonly #modules = new Set<string>();

  readonly #builtIn: BuiltIns;

  constructor(builtIn: BuiltIns) {
    this.#builtIn = builtIn;
    this.#plugins = {
      connection: lazily(builtIn.connections),
      connector: lazily(builtIn.connectors),
      queue: lazily(builtIn.queues),
      store: lazily(builtIn.stores),
      provider: lazily(builtIn.providers),
    };
  }

  /** One with the built-in plugins only, for another configuration. */
  fresh(): Registry {
    return new Registry(this.#builtIn);
  }

  kinds(type: PluginType): readonly string[] {
    return [...this.#plugins[type].keys()];
  }

  /** Undefined when no plugin of that kind is known. */
  async find(type: PluginType, kind: string): Promise<PluginDefinition | undefined> {
    return this.#plugins[type].get(kind)?.();
  }

  /** Every plugin there is. */
  async all(): Promise<readonly PluginDefinition[]> {
    const found = pluginTypes.map((type) => [...this.#plugins[type].values()].map((load) => load()));
    return Promise.all(found.flat());
  }

  add(definition: PluginDefinition): void {
    const plugins = this.#plugins[definition.type];
    if (plugins.has(definition.kind)) {
      throw new MillraceError('config.invalid', twice(definition.type, definition.kind));
    }
    plugins.set(definition.kind, async () => definition);
  }

  /**
   * Loads a module of somebody else's: a path relative to `folder`, or a package that can be resolved from there. Its
   * default export is a definition or a list of them. Loading the same module again does nothing.
   */
  async addModule(name: string, folder: string): Promise<void> {
    const isPath = name.startsWith('.') || name.startsWith('/');
    const file = isPath ? resolve(folder, name) : resolvePackage(name, folder);
    if (this.#modules.has(file)) return;
    let exported: unknown;
    try {
      exported = ((await import(pathToFileURL(file).href)) as { default?: unknown }).default;
    } catch (error) {
      throw new MillraceError('config.invalid', `plugin module "${name}" cannot be loaded: ${messageOf(error)}`, {
        cause: error,
      });
    }
    const definitions: readonly unknown[] = Array.isArray(exported) ? exported : [exported];
    const taken = new Set<string>();
    for (const definition of definitions) {
      if (!isDefinition(definition)) {
        const expected =
          'expected its default export to be what defineConnection, defineConnector, defineQueue, defineStore or defineProvider returns';
        throw new MillraceError('config.invalid', `plugin module "${name}": ${expected}`);
      }
      const { type, kind } = definition;
      if (this.#plugins[type].has(kind) || taken.has(`${type} ${kind}`)) {
        throw new MillraceError('config.invalid', `plugin module "${name}": ${twice(type, kind)}`);
      }
      taken.add(`${type} ${kind}`);
    }
    // All of them or none: a module that was refused must not have left anything behind.
    for (const definition of definitions as readonly PluginDefinition[]) this.add(definition);
    this.#modules.add(file);
  }
}

function twice(type: PluginType, kind: string): string {
  return `there is already a ${type} of kind "${kind}"`;
}

function lazily(plugins: LazyPlugins): Map<string, () => Promise<PluginDefinition>> {
  return new Map(Object.entries(plugins).map(([kind, load]) => [kind, async () => (await load()).default]));
}

function resolvePackage(name: string, folder: string): string {
  const base = resolve(folder, 'millrace.yaml');
  try {
    return createRequire(base).resolve(name);
  } catch (error) {
    // A package for `import` only is hidden from `require`, and Node has no way to ask for the other from a folder.
    const file = (error as NodeJS.ErrnoException).code === 'ERR_PACKAGE_PATH_NOT_EXPORTED' && importOnly(name, base);
    if (file) return file;
    const hint = `plugin package "${name}" is not installed beside the configuration; a path begins with "./"`;
    throw new MillraceError('config.invalid', hint, { cause: error });
  }
}

/** The file that `import 'package'` or `import 'package/part'` means, by the `exports` of its package.json. */
function importOnly(name: string, base: string): string | undefined {
  const manifest = findPackageJSON(name, pathToFileURL(base));
  if (manifest === undefined) return undefined;
  const { exports } = JSON.parse(readFileSync(manifest, 'utf8')) as { exports?: unknown };
  const part = `.${name
    .split('/')
    .slice(name.startsWith('@') ? 2 : 1)
    .map((piece) => `/${piece}`)
    .join('')}`;
  const parts = exports as Readonly<Record<string, unknown>> | undefined;
  const target = imported(parts && Object.keys(parts).some((key) => key.startsWith('.')) ? parts[part] : exports);
  return target === undefined ? undefined : resolve(dirname(manifest), target);
}

function imported(target: unknown): string | undefined {
  if (typeof target === 'string') return target;
  if (typeof target !== 'object' || target === null) return undefined;
  const conditions = Array.isArray(target)
    ? target
    : Object.entries(target)
        .filter(([key]) => chosen.has(key))
        .map(([, value]) => value as unknown);
  return conditions.map(imported).find((found) => found !== undefined);
}

const chosen = new Set(['import', 'node', 'default', 'module-sync']);

function isDefinition(value: unknown): value is PluginDefinition {
  if (typeof value !== 'object' || value === null) return false;
  const { type, kind, summary, config, create, functionConfig, capabilities } = value as Readonly<
    Record<string, unknown>
  >;
  return (
    (pluginTypes as readonly unknown[]).includes(type) &&
    typeof kind === 'string' &&
    typeof summary === 'string' &&
    typeof create === 'function' &&
    config instanceof z.ZodType &&
    (type !== 'provider' || functionConfig instanceof z.ZodObject) &&
    (type !== 'queue' || (typeof capabilities === 'object' && capabilities !== null))
  );
}
