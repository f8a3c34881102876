import type { Logger } from 'pino';
import { functionOfDeployment } from '../config/deployments.ts';
import type { Config, FunctionConfig, ProviderConfig } from '../config/schema.ts';
import type { DeploymentKeeper, FoundFunction } from '../contracts/deployment.ts';
import { messageOf } from '../contracts/errors.ts';
import type { Provider } from '../contracts/provider.ts';

/** What came of a function that was found, under that configuration; `made` is missing where it could not be had. */
interface Taken {
  readonly found: FoundFunction;
  readonly provider: ProviderConfig;
  readonly declared: Config;
  readonly made?: FunctionConfig;
}

/** Functions that providers keep by themselves, as the configuration would have them. */
export class FoundFunctions {
  readonly #providers: ReadonlyMap<string, Provider>;
  readonly #logger: Logger;
  /** By name, so that of thousands only those that have changed are made anew. */
  #taken: ReadonlyMap<string, Taken> = new Map();
  #following: readonly (() => void)[] = [];

  constructor(providers: ReadonlyMap<string, Provider>, logger: Logger) {
    this.#providers = providers;
    this.#logger = logger;
  }

  /** What keeps the functions of that provider; undefined where the gateway does. */
  keeperOf(name: string | undefined): DeploymentKeeper | undefined {
    return name === undefined ? undefined : this.#providers.get(name)?.deployments;
  }

  /** Of all providers of that configuration that run. */
  keepers(declared: Config): readonly (readonly [ProviderConfig, DeploymentKeeper])[] {
    return [...declared.providers.values()].flatMap((provider) => {
      const keeper = this.keeperOf(provider.name);
      return keeper ? [[provider, keeper] as const] : [];
    });
  }

  /** What the configuration declares goes first; one that cannot be had is left out, with a line in the log. */
  under(declared: Config): ReadonlyMap<string, FunctionConfig> {
    const taken = new Map<string, Taken>();
    const functions = new Map<string, FunctionConfig>();
    for (const [provider, keeper] of this.keepers(declared)) {
      for (const [name, found] of keeper.functions()) {
        if (declared.functions.has(name) || taken.has(name)) continue;
        const before = this.#taken.get(name);
        const isSame = before?.found === found && before.declared === declared && before.provider === provider;
        const one = isSame ? before : this.#take(name, { found, provider, declared });
        taken.set(name, one);
        if (one.made) functions.set(name, one.made);
      }
    }
    this.#taken = taken;
    return functions;
  }

  /** Calls `listener` for each change at any of the providers that run now, and no more for those before. */
  follow(declared: Config, listener: () => void): void {
    this.unfollow();
    this.#following = this.keepers(declared).map(([, keeper]) => keeper.onChange(listener));
  }

  unfollow(): void {
    for (const end of this.#following) end();
    this.#following = [];
  }

  #take(name: string, taken: Taken): Taken {
    try {
      return { ...taken, made: functionOfDeployment(taken.found, taken.provider, taken.declared) };
    } catch (error) {
      const about = { function: name, provider: taken.provider.name, reason: messageOf(error) };
      this.#logger.error(about, 'a function that a provider has found cannot be had');
      return taken;
    }
  }
}
