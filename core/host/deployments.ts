import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import type { DeploymentServices } from '../api/services.ts';
import { deployTarget, functionOfDeployment, needDeployTarget } from '../config/deployments.ts';
import type { Config, FunctionConfig, ProviderConfig } from '../config/schema.ts';
import { type Clock, sleep } from '../contracts/clock.ts';
import type { Deployment, DeploymentKeeper, Namespace } from '../contracts/deployment.ts';
import { messageOf, MillraceError, missingFunction, missingNamespace } from '../contracts/errors.ts';
import { type Provider, systemNamespace } from '../contracts/provider.ts';
import type { Store } from '../contracts/store.ts';
import { namespaceOf } from '../kit/names.ts';
import { FoundFunctions } from './found-functions.ts';
import { StoredDeployments } from './stored-deployments.ts';

/** What the gateway does for them, one after another with its reloads. */
export interface DeploymentParts {
  readonly clock: Clock;
  readonly logger: Logger;
  /** @throws MillraceError `store.unavailable` */
  store(): Store;
  /** Those that run. */
  readonly providers: ReadonlyMap<string, Provider>;
  /** As the files say, without what was deployed. */
  declared(): Config;
  /** One piece of work at a time, reloads included. */
  inTurn<Result>(work: () => Promise<Result>): Promise<Result>;
  /** Has these deployed, and none else of those that were; rejects when it could not be, and all is as it was. */
  apply(deployed: ReadonlyMap<string, FunctionConfig>): Promise<void>;
}

interface Target {
  readonly declared: Config;
  readonly target: ProviderConfig;
  readonly keeper: DeploymentKeeper | undefined;
}

/**
 * Functions and namespaces that do not stand in the configuration. Those that were made through the API survive a
 * restart and are taken up by other gateways: they are in a store, or where the provider keeps such things itself (a
 * cluster), together with those that others have made there. What stands in the configuration goes first, and is not
 * changed from here.
 */
export class Deployments implements DeploymentServices {
  readonly #parts: DeploymentParts;
  readonly #stored: StoredDeployments;
  readonly #found: FoundFunctions;
  /** In force. */
  #made: ReadonlyMap<string, FunctionConfig> = new Map();
  readonly #stopped = new AbortController();
  #following: Promise<void> | undefined;
  /** Somebody has asked for it, and it has not begun. */
  #takingUp: Promise<void> | undefined;

  constructor(parts: DeploymentParts) {
    this.#parts = parts;
    this.#stored = new StoredDeployments(parts.clock, () => parts.store());
    this.#found = new FoundFunctions(parts.providers, parts.logger);
  }

  /** Reads what is kept; returns the functions of it that can be had. No store is read where nobody may deploy. */
  async load(): Promise<ReadonlyMap<string, FunctionConfig>> {
    const declared = this.#parts.declared();
    if (this.#storeTarget(declared)) await this.#stored.read();
    const { functions, refused } = this.under(declared);
    for (const { name, reason } of refused) this.#cannotHave(name, reason);
    this.#made = functions;
    return functions;
  }

  /** Takes up what others deploy, until it is stopped: what a store keeps is looked for every now and then. */
  follow(): void {
    this.#following = this.#follow();
    this.#followProviders();
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

  /** From those that run now. What they found meanwhile is taken up at once. */
  #followProviders(): void {
    const takeUp = (): void => {
      this.#takeUpFound().catch((error: unknown) => {
        if (!this.#stopped.signal.aborted) {
          this.#parts.logger.error({ err: error }, 'what a provider has found could not be taken up');
        }
      });
    };
    const declared = this.#parts.declared();
    if (this.#stopped.signal.aborted || this.#found.keepers(declared).length === 0) return;
    this.#found.follow(declared, takeUp);
    takeUp();
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    this.#found.unfollow();
    await this.#following;
  }

  /** The functions as that configuration would have them, and those of the store that it could not. */
  under(declared: Config): {
    readonly functions: ReadonlyMap<string, FunctionConfig>;
    readonly refused: readonly { readonly name: string; readonly reason: string }[];
  } {
    const functions = new Map(this.#found.under(declared));
    const refused: { name: string; reason: string }[] = [];
    const target = deployTarget(declared);
    if (this.#found.keeperOf(target?.name)) return { functions, refused };
    for (const [name, { value }] of this.#stored.functions) {
      try {
        if (declared.functions.has(name)) throw new Error('the configuration has a function of that name');
        functions.set(name, functionOfDeployment(value, needDeployTarget(declared), declared));
      } catch (error) {
        refused.push({ name, reason: messageOf(error) });
      }
    }
    return { functions, refused };
  }

  /** A reload has put them in force so, and may have started other providers. */
  taken(functions: ReadonlyMap<string, FunctionConfig>): void {
    this.#made = functions;
    this.#followProviders();
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
    const name = `${deployment.service}.${deployment.namespace}`;
    const { declared, target, keeper } = this.#changeable(name);
    if (!keeper) return this.#parts.inTurn(() => this.#store(name, deployment, how));
    this.#needNamespace(deployment.namespace);
    // What this gateway would not run is refused, and not left there for it to stumble over.
    functionOfDeployment({ deployment, createdAt: this.#parts.clock.now() }, target, declared);
    await keeper.deploy(deployment, how);
    await this.#takeUpFound();
  }

  /** It runs before it is kept: one that its provider refuses is not there after the next start either. */
  async #store(name: string, deployment: Deployment, how: 'create' | 'update'): Promise<void> {
    const { declared, target } = this.#changeable(name);
    await this.#refresh();
    const kept = this.#stored.functions.get(name);
    if (how === 'create' && kept) throw conflict(`function ${name} is there already: PUT replaces it`);
    if (how === 'update' && !kept) throw missingFunction(name);
    this.#needNamespace(deployment.namespace);
    const stored = { deployment, createdAt: kept?.value.createdAt ?? this.#parts.clock.now() };
    const made = functionOfDeployment(stored, target, declared);
    const before = this.#made;
    await this.#apply(new Map(before).set(name, made));
    try {
      await this.#stored.putFunction(name, stored);
    } catch (error) {
      await this.#apply(before);
      throw error;
    }
  }

  /** @throws MillraceError as `deploy` */
  async remove(name: string): Promise<void> {
    const { keeper } = this.#changeable(name);
    if (keeper) {
      await keeper.remove(name);
      await this.#takeUpFound();
      return;
    }
    await this.#parts.inTurn(async () => {
      this.#changeable(name);
      await this.#refresh();
      if (!this.#stored.functions.has(name)) throw missingFunction(name);
      // Forgotten first: one that came back at the next start would be worse than one that runs until then.
      await this.#stored.removeFunction(name);
      await this.#apply(without(this.#made, name));
    });
  }

  /** All there are: the standard one first, then those of functions and those that were made. */
  namespaces(): readonly Namespace[] {
    const declared = this.#parts.declared();
    const made = new Map<string, Namespace>();
    for (const [name, { value }] of this.#stored.namespaces) made.set(name, value);
    for (const [, keeper] of this.#found.keepers(declared)) {
      for (const namespace of keeper.namespaces()) made.set(namespace.name, namespace);
    }
    const names = new Set([declared.gateway.namespace]);
    const used = [...declared.functions.keys(), ...this.#made.keys()].map(namespaceOf);
    for (const name of [...used, ...made.keys()].toSorted()) names.add(name);
    return [...names].map((name) => made.get(name) ?? { name, labels: {}, annotations: {} });
  }

  /** @throws MillraceError `request.conflict`, `namespace.missing`, `store.unavailable` */
  async putNamespace(namespace: Namespace, how: 'create' | 'update'): Promise<void> {
    const { name } = namespace;
    if (name === systemNamespace) throw conflict(`namespace ${name} is Millrace's own`);
    const { keeper } = this.#target();
    if (keeper) return keeper.putNamespace(namespace, how);
    await this.#parts.inTurn(async () => {
      await this.#refresh();
      const known = this.namespaces().some((one) => one.name === name);
      if (how === 'create' && known) throw conflict(`namespace ${name} is there already`);
      if (how === 'update' && !known) throw missingNamespace(name);
      await this.#stored.putNamespace(namespace);
    });
  }

  /** Only an empty one: what runs there would be gone without anybody having named it. */
  async removeNamespace(name: string): Promise<void> {
    const { keeper } = this.#target();
    await this.#parts.inTurn(async () => {
      if (!keeper) await this.#refresh();
      const known = this.namespaces().find((one) => one.name === name);
      if (!known) throw missingNamespace(name);
      const { functions } = this.#parts.declared();
      const inside = [...functions.keys(), ...this.#made.keys()].filter((one) => namespaceOf(one) === name);
      if (inside.length > 0) throw conflict(`namespace ${name} has functions, remove them first: ${some(inside)}`);
      if (keeper) return keeper.removeNamespace(name);
      if (!this.#stored.namespaces.has(name)) throw conflict(`namespace ${name} is the standard one, and stays`);
      await this.#stored.removeNamespace(name);
    });
  }

  /** Where the API deploys to, and what keeps it there unless it is the store. */
  #target(): Target {
    const declared = this.#parts.declared();
    const target = needDeployTarget(declared);
    return { declared, target, keeper: this.#found.keeperOf(target.name) };
  }

  #changeable(name: string): Target {
    const target = this.#target();
    if (target.declared.functions.has(name)) {
      throw conflict(`function ${name} stands in the configuration of the gateway, and is changed there`);
    }
    return target;
  }

  /** The provider whose deployments are in the store. */
  #storeTarget(declared: Config): ProviderConfig | undefined {
    const target = deployTarget(declared);
    return this.#found.keeperOf(target?.name) ? undefined : target;
  }

  #needNamespace(name: string): void {
    if (this.namespaces().some((one) => one.name === name) && name !== systemNamespace) return;
    throw new MillraceError('request.invalid', `namespace ${name} does not exist: POST /system/namespace/ makes it`);
  }

  async #apply(made: ReadonlyMap<string, FunctionConfig>): Promise<void> {
    await this.#parts.apply(made);
    this.#made = made;
  }

  async #refresh(): Promise<void> {
    if (!this.#storeTarget(this.#parts.declared()) || !(await this.#stored.refresh())) return;
    await this.#takeUp((name, reason) => this.#cannotHave(name, reason));
  }

  /** Once for all who ask before it begins: a provider tells of each change. */
  #takeUpFound(): Promise<void> {
    this.#takingUp ??= this.#parts.inTurn(async () => {
      this.#takingUp = undefined;
      if (!this.#stopped.signal.aborted) await this.#takeUp(() => {});
    });
    return this.#takingUp;
  }

  /** All at once, or one by one where something cannot be had: it must not keep the others out. */
  async #takeUp(onRefused: (name: string, reason: string) => void): Promise<void> {
    const { functions, refused } = this.under(this.#parts.declared());
    for (const { name, reason } of refused) onRefused(name, reason);
    const changed = [...functions].filter(([name, one]) => !isDeepStrictEqual(this.#made.get(name), one));
    const gone = [...this.#made.keys()].filter((name) => !functions.has(name));
    if (changed.length === 0 && gone.length === 0) return;
    try {
      await this.#apply(functions);
    } catch {
      for (const name of gone) await this.#apply(without(this.#made, name));
      for (const [name, one] of changed) await this.#takeUpOne(name, one);
    }
  }

  async #takeUpOne(name: string, one: FunctionConfig): Promise<void> {
    try {
      await this.#apply(new Map(this.#made).set(name, one));
    } catch (error) {
      this.#cannotHave(name, messageOf(error));
    }
  }

  #cannotHave(name: string, reason: string): void {
    this.#parts.logger.error({ function: name, reason }, 'a function that was deployed through the API cannot be had');
  }
}

function without(functions: ReadonlyMap<string, FunctionConfig>, name: string): Map<string, FunctionConfig> {
  const rest = new Map(functions);
  rest.delete(name);
  return rest;
}

function conflict(message: string): MillraceError {
  return new MillraceError('request.conflict', message);
}

function some(names: readonly string[]): string {
  return names.slice(0, 5).join(', ') + (names.length > 5 ? ', …' : '');
}
