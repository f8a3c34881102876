import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type PluginDefinition, type PluginType, pluginTypes } from '../contracts/definition.ts';
import { messageOf, MillraceError } from '../contracts/errors.ts';

/** One line a kind: the module is loaded only when a configuration names it. */
export type LazyPlugins = Readonly<Record<string, () => Promise<{ readonly default: PluginDefinition }>>>;

/** The kinds of plugins that a configuration may name. Built-ins and those of others are registered alike. */
export class Registry {
  readonly #plugins: Readonly<Record<PluginType, Map<string, () => Promise<PluginDefinition>>>>;
  readonly #modules = new Set<string>();

  constructor(builtIn: { connectors: LazyPlugins; queues: LazyPlugins; stores: LazyPlugins; providers: LazyPlugins }) {
    this.#plugins = {
      connector: lazily(builtIn.connectors),
      queue: lazily(builtIn.queues),
      store: lazily(builtIn.stores),
      provider: lazily(builtIn.providers),
    };
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
      throw new MillraceError('config.invalid', `there is already a ${definition.type} of kind "${definition.kind}"`);
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
    const definitions = Array.isArray(exported) ? exported : [exported];
    for (const definition of definitions) {
      if (!isDefinition(definition)) {
        const expected =
          'expected its default export to be what defineConnector, defineQueue, defineStore or defineProvider returns';
        throw new MillraceError('config.invalid', `plugin module "${name}": ${expected}`);
      }
      this.add(definition);
    }
    this.#modules.add(file);
  }
}

function lazily(plugins: LazyPlugins): Map<string, () => Promise<PluginDefinition>> {
  return new Map(Object.entries(plugins).map(([kind, load]) => [kind, async () => (await load()).default]));
}

function resolvePackage(name: string, folder: string): string {
  try {
    return createRequire(resolve(folder, 'millrace.yaml')).resolve(name);
  } catch (error) {
    const hint = `plugin package "${name}" is not installed beside the configuration; a path begins with "./"`;
    throw new MillraceError('config.invalid', hint, { cause: error });
  }
}

function isDefinition(value: unknown): value is PluginDefinition {
  if (typeof value !== 'object' || value === null) return false;
  const { type, kind, config, create } = value as Partial<PluginDefinition>;
  return (
    (pluginTypes as readonly unknown[]).includes(type) &&
    typeof kind === 'string' &&
    typeof config === 'object' &&
    typeof create === 'function'
  );
}
