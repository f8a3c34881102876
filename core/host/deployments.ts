import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import {
  deployTarget,
  functionOfDeployment,
  needDeployTarget,
  type StoredDeployment,
  storedDeployment,
} from '../config/deployments.ts';
import type { Config, FunctionConfig } from '../config/schema.ts';
import { type Clock, sleep } from '../contracts/clock.ts';
import type { Deployment } from '../contracts/deployment.ts';
import { messageOf, MillraceError, missingFunction, missingNamespace } from '../contracts/errors.ts';
import { namespaceOf } from '../kit/names.ts';
import type { Store } from '../contracts/store.ts';
import type { DeploymentServices, Namespace } from '../api/services.ts';
import { systemNamespace } from '../contracts/provider.ts';

const functionPrefix = 'deployments/functions/';
const namespacePrefix = 'deployments/namespaces/';
/** Written after each change, so that one look tells other gateways whether there was any. */
const changedKey = 'deployments/changed';
const pageSize = 500;

interface Kept<Value> {
  readonly value: Value;
  readonly version: number;
}

/** What the gateway does for them, one after another with its reloads. */
export interface DeploymentParts {
  readonly clock: Clock;
  readonly logger: Logger;
  /** @throws MillraceError `store.unavailable` */
  store(): Store;
  /** As the files say, without what was deployed. */
  declared(): Config;
  /** One piece of work at a time, reloads included. */
  inTurn<Result>(work: () => Promise<Result>): Promise<Result>;
  /** Has these deployed, and none else of those that were; rejects when it could not be, and all is as it was. */
  apply(deployed: ReadonlyMap<string, FunctionConfig>): Promise<void>;
}

/**
 * Functions and namespaces that were made through the API, kept in a store: they survive a restart, and other gateways
 * on the same store take them up. What stands in the configuration goes first, and is not changed from here.
 */
export class Deployments implements DeploymentServices {
  readonly #parts: DeploymentParts;
  #functions = new Map<string, Kept<StoredDeployment>>();
  #namespaces = new Map<string, Kept<Namespace>>();
  /** In force. */
  #made: ReadonlyMap<string, FunctionConfig> = new Map();
  #seen = 0;
  readonly #stopped = new AbortController();
  #following: Promise<void> | undefined;

  constructor(parts: DeploymentParts) {
    this.#parts = parts;
  }

  /** Reads what is kept; returns the functions of it that can be had. Nothing is read where nobody may deploy. */
  async load(): Promise<ReadonlyMap<string, FunctionConfig>> {
    const declared = this.#parts.declared();
    if (!deployTarget(declared)) return this.#made;
    await this.#read();
    const { functions, refused } = this.under(declared);
    for (const { name, reason } of refused) {
      this.#parts.logger.error(
        { function: name, reason },
        'a function that was deployed through the API cannot be had',
      );
    }
    this.#made = functions;
    return functions;
  }

  /** Looks every now and then for what other gateways have deployed, until it is stopped. */
  follow(): void {
    this.#following = this.#follow();
  }

  async #follow(): Promise<void> {
    const parts = this.#parts;
    while (await sleep(parts.declared().gateway.deployments.refresh, this.#stopped.signal)) {
      try {
        await parts.inTurn(() => this.#refresh());
      } catch (error) {
        parts.logger.warn({ err: error }, 'what other gateways deployed could not be taken up');
      }
    }
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#following;
  }

  /** The functions as that configuration would have them, and those that it could not. */
  under(declared: Config): {
    readonly functions: ReadonlyMap<string, FunctionConfig>;
    readonly refused: readonly { readonly name: string; readonly reason: string }[];
  } {
    const functions = new Map<string, FunctionConfig>();
    const refused: { name: string; reason: string }[] = [];
    for (const [name, { value }] of this.#functions) {
      try {
        if (declared.functions.has(name)) throw new Error('the configuration has a function of that name');
        functions.set(name, functionOfDeployment(value.deployment, value.createdAt, declared));
      } catch (error) {
        refused.push({ name, reason: messageOf(error) });
      }
    }
    return { functions, refused };
  }

  /** A reload has put them in force so. */
  taken(functions: ReadonlyMap<string, FunctionConfig>): void {
    this.#made = functions;
  }

  isDeployed(name: string): boolean {
    return this.#made.has(name);
  }

  /**
   * Makes a function, or replaces one. Resolves once it runs and is kept.
   *
   * @throws MillraceError `request.invalid`, `request.conflict`, `deploy.disabled`, `function.missing`, `store.unavailable`
   */
  async deploy(deployment: Deployment, how: 'create' | 'update'): Promise<void> {
    await this.#parts.inTurn(async () => {
      const name = `${deployment.service}.${deployment.namespace}`;
      const declared = this.#changeable(name);
      await this.#refresh();
      const kept = this.#functions.get(name);
      if (how === 'create' && kept) throw conflict(`function ${name} is there already: PUT replaces it`);
      if (how === 'update' && !kept) throw missingFunction(name);
      this.#needNamespace(deployment.namespace);
      const stored = { deployment, createdAt: kept?.value.createdAt ?? this.#parts.clock.now() };
      const made = functionOfDeployment(deployment, stored.createdAt, declared);
      const before = this.#made;
      await this.#apply(new Map(before).set(name, made));
      try {
        const text = JSON.stringify({ v: 1, ...stored });
        const version = await this.#write(functionPrefix + name, text, kept?.version ?? 0);
        this.#functions.set(name, { value: stored, version });
      } catch (error) {
        await this.#apply(before);
        throw error;
      }
    });
  }

  /** @throws MillraceError as `deploy` */
  async remove(name: string): Promise<void> {
    await this.#parts.inTurn(async () => {
      this.#changeable(name);
      await this.#refresh();
      if (!this.#functions.has(name)) throw missingFunction(name);
      const rest = new Map(this.#made);
      rest.delete(name);
      // Forgotten first: one that came back at the next start would be worse than one that runs until then.
      await this.#store().delete(functionPrefix + name);
      this.#functions.delete(name);
      await this.#announce();
      await this.#apply(rest);
    });
  }

  /** All there are: the standard one first, then those of functions and those that were made. */
  namespaces(): readonly Namespace[] {
    const { gateway, functions } = this.#parts.declared();
    const names = new Set([gateway.namespace]);
    const used = [...functions.keys(), ...this.#functions.keys()].map(namespaceOf);
    for (const name of [...used, ...this.#namespaces.keys()].toSorted()) names.add(name);
    return [...names].map((name) => this.#namespaces.get(name)?.value ?? { name, labels: {}, annotations: {} });
  }

  /** @throws MillraceError `request.conflict`, `namespace.missing`, `store.unavailable` */
  async putNamespace(namespace: Namespace, how: 'create' | 'update'): Promise<void> {
    const { name } = namespace;
    await this.#parts.inTurn(async () => {
      needDeployTarget(this.#parts.declared());
      await this.#refresh();
      if (name === systemNamespace) throw conflict(`namespace ${name} is Millrace's own`);
      const known = this.namespaces().some((one) => one.name === name);
      if (how === 'create' && known) throw conflict(`namespace ${name} is there already`);
      if (how === 'update' && !known) throw missingNamespace(name);
      const before = this.#namespaces.get(name);
      const version = await this.#write(namespacePrefix + name, JSON.stringify(namespace), before?.version ?? 0);
      this.#namespaces.set(name, { value: namespace, version });
    });
  }

  /** Only an empty one: what runs there would be gone without anybody having named it. */
  async removeNamespace(name: string): Promise<void> {
    await this.#parts.inTurn(async () => {
      needDeployTarget(this.#parts.declared());
      await this.#refresh();
      const known = this.namespaces().find((one) => one.name === name);
      if (!known) throw missingNamespace(name);
      const { functions } = this.#parts.declared();
      const inside = [...functions.keys(), ...this.#functions.keys()].filter((one) => namespaceOf(one) === name);
      if (inside.length > 0) throw conflict(`namespace ${name} has functions, remove them first: ${some(inside)}`);
      if (!this.#namespaces.has(name)) throw conflict(`namespace ${name} is the standard one, and stays`);
      await this.#store().delete(namespacePrefix + name);
      this.#namespaces.delete(name);
      await this.#announce();
    });
  }

  #changeable(name: string): Config {
    const declared = this.#parts.declared();
    needDeployTarget(declared);
    if (declared.functions.has(name)) {
      throw conflict(`function ${name} stands in the configuration of the gateway, and is changed there`);
    }
    return declared;
  }

  #needNamespace(name: string): void {
    if (this.namespaces().some((one) => one.name === name) && name !== systemNamespace) return;
    throw new MillraceError('request.invalid', `namespace ${name} does not exist: POST /system/namespace/ makes it`);
  }

  async #apply(made: ReadonlyMap<string, FunctionConfig>): Promise<void> {
    await this.#parts.apply(made);
    this.#made = made;
  }

  /** One by one, since what cannot be had here must not keep the others out. */
  async #refresh(): Promise<void> {
    if (!deployTarget(this.#parts.declared())) return;
    const changed = await this.#store().get(changedKey);
    if ((changed?.version ?? 0) === this.#seen) return;
    await this.#read();
    const { functions, refused } = this.under(this.#parts.declared());
    for (const { name, reason } of refused) this.#cannotHave(name, reason);
    for (const name of this.#made.keys()) {
      if (functions.has(name)) continue;
      const rest = new Map(this.#made);
      rest.delete(name);
      await this.#apply(rest);
    }
    for (const [name, one] of functions) {
      if (isDeepStrictEqual(this.#made.get(name), one)) continue;
      try {
        await this.#apply(new Map(this.#made).set(name, one));
      } catch (error) {
        this.#cannotHave(name, messageOf(error));
      }
    }
  }

  #cannotHave(name: string, reason: string): void {
    this.#parts.logger.error({ function: name, reason }, 'a function that was deployed through the API cannot be had');
  }

  async #read(): Promise<void> {
    const changed = await this.#store().get(changedKey);
    this.#functions = await this.#all(functionPrefix, storedDeployment);
    this.#namespaces = await this.#all(namespacePrefix, (text) => JSON.parse(text) as Namespace);
    this.#seen = changed?.version ?? 0; // Read before the rest: what changes meanwhile is seen again.
  }

  async #all<Value>(prefix: string, parse: (text: string) => Value | undefined): Promise<Map<string, Kept<Value>>> {
    const found = new Map<string, Kept<Value>>();
    const store = this.#store();
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
    const version = await this.#store().put(key, text, { ifVersion });
    if (version === undefined) throw conflict('another gateway has changed it at the same time: try again');
    await this.#announce();
    return version;
  }

  async #announce(): Promise<void> {
    const text = String(this.#parts.clock.now());
    const version = await this.#store().put(changedKey, text, { ifVersion: this.#seen });
    if (version !== undefined) this.#seen = version;
    // Somebody else was in between: what he changed is still to be read.
    else await this.#store().put(changedKey, text);
  }

  #store(): Store {
    return this.#parts.store();
  }
}

function conflict(message: string): MillraceError {
  return new MillraceError('request.conflict', message);
}

function some(names: readonly string[]): string {
  return names.slice(0, 5).join(', ') + (names.length > 5 ? ', …' : '');
}
