import { storedDeployment } from '../config/deployments.ts';
import type { Clock } from '../contracts/clock.ts';
import type { FoundFunction, Namespace } from '../contracts/deployment.ts';
import { MillraceError } from '../contracts/errors.ts';
import type { Store } from '../contracts/store.ts';

const functionPrefix = 'deployments/functions/';
const namespacePrefix = 'deployments/namespaces/';
/** Written after each change, so that one look tells other gateways whether there was any. */
const changedKey = 'deployments/changed';
const pageSize = 500;

interface Kept<Value> {
  readonly value: Value;
  readonly version: number;
}

/** Functions and namespaces that were made through the API, as a store keeps them. Each change is one record. */
export class StoredDeployments {
  readonly #clock: Clock;
  readonly #openStore: () => Store;
  #functions = new Map<string, Kept<FoundFunction>>();
  #namespaces = new Map<string, Kept<Namespace>>();
  #seen = 0;

  /** `openStore` throws a MillraceError `store.unavailable` where there is none. */
  constructor(clock: Clock, openStore: () => Store) {
    this.#clock = clock;
    this.#openStore = openStore;
  }

  get functions(): ReadonlyMap<string, { readonly value: FoundFunction }> {
    return this.#functions;
  }

  get namespaces(): ReadonlyMap<string, { readonly value: Namespace }> {
    return this.#namespaces;
  }

  /** Reads all of it, unless nobody has changed any since; returns whether it has. */
  async refresh(): Promise<boolean> {
    const changed = await this.#lastChange();
    if (changed === this.#seen) return false;
    await this.#readAll(changed);
    return true;
  }

  async read(): Promise<void> {
    await this.#readAll(await this.#lastChange());
  }

  async #lastChange(): Promise<number> {
    return (await this.#store.get(changedKey))?.version ?? 0;
  }

  /** `changed` was read before the rest: what changes meanwhile is seen again. */
  async #readAll(changed: number): Promise<void> {
    this.#functions = await this.#all(functionPrefix, storedDeployment);
    this.#namespaces = await this.#all(namespacePrefix, (text) => JSON.parse(text) as Namespace);
    this.#seen = changed;
  }

  /** @throws MillraceError `request.conflict` when another gateway has changed it meanwhile. */
  async putFunction(name: string, value: FoundFunction): Promise<void> {
    const text = JSON.stringify({ v: 1, ...value });
    const version = await this.#write(functionPrefix + name, text, this.#functions.get(name)?.version ?? 0);
    this.#functions.set(name, { value, version });
  }

  async removeFunction(name: string): Promise<void> {
    await this.#store.delete(functionPrefix + name);
    this.#functions.delete(name);
    await this.#announce();
  }

  /** @throws MillraceError `request.conflict` when another gateway has changed it meanwhile. */
  async putNamespace(value: Namespace): Promise<void> {
    const { name } = value;
    const before = this.#namespaces.get(name)?.version ?? 0;
    const version = await this.#write(namespacePrefix + name, JSON.stringify(value), before);
    this.#namespaces.set(name, { value, version });
  }

  async removeNamespace(name: string): Promise<void> {
    await this.#store.delete(namespacePrefix + name);
    this.#namespaces.delete(name);
    await this.#announce();
  }

  async #all<Value>(prefix: string, parse: (text: string) => Value | undefined): Promise<Map<string, Kept<Value>>> {
    const found = new Map<string, Kept<Value>>();
    const store = this.#store;
    let after: string | undefined;
    for (;;) {
      const keys = await store.list(prefix, pageSize, after);
      const records = await Promise.all(keys.map(async (key) => [key, await store.get(key)] as const));
      for (const [key, record] of records) {
        const value = record && parse(record.value);
        if (value) found.set(key.slice(prefix.length), { value, version: record.version });
      }
      if (keys.length < pageSize) return found;
      after = keys.at(-1);
    }
  }

  async #write(key: string, text: string, ifVersion: number): Promise<number> {
    const version = await this.#store.put(key, text, { ifVersion });
    if (version === undefined) {
      throw new MillraceError('request.conflict', 'another gateway has changed it at the same time: try again');
    }
    await this.#announce();
    return version;
  }

  async #announce(): Promise<void> {
    const text = String(this.#clock.now());
    const version = await this.#store.put(changedKey, text, { ifVersion: this.#seen });
    if (version !== undefined) this.#seen = version;
    // Somebody else was in between: what he changed is still to be read.
    else await this.#store.put(changedKey, text);
  }

  get #store(): Store {
    return this.#openStore();
  }
}
