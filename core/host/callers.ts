import type { Registry } from 'prom-client';
import type { Logger } from 'pino';
import type { Callers } from '../api/services.ts';
import { Authenticator, type AuthParts } from '../auth/authenticator.ts';
import type { Principal } from '../auth/principal.ts';
import { Refusals } from '../auth/refusals.ts';
import type { GatewayConfig } from '../config/schema.ts';
import type { Clock } from '../contracts/clock.ts';
import type { FunctionAuth } from '../contracts/policy.ts';
import type { Catalog } from '../functions/catalog.ts';

/** Who callers are, and what functions ask of them, as the configuration in force says. */
export class GatewayCallers implements Callers {
  /** Another one after each change of `gateway.auth`. */
  authenticator: Authenticator;
  /** Who may call a function that does not say it itself. */
  standardAuth: FunctionAuth;
  readonly #catalog: Catalog;
  readonly #parts: AuthParts;

  constructor(
    { auth, functions }: GatewayConfig,
    catalog: Catalog,
    { clock, logger, metrics }: { readonly clock: Clock; readonly logger: Logger; readonly metrics: Registry },
  ) {
    this.#catalog = catalog;
    this.#parts = { clock, logger, refusals: new Refusals(metrics, logger, clock), keySets: new Map() };
    this.authenticator = new Authenticator(auth, this.#parts);
    this.standardAuth = functions.auth;
  }

  takeUp({ auth, functions }: GatewayConfig): void {
    this.authenticator = new Authenticator(auth, this.#parts);
    this.standardAuth = functions.auth;
  }

  principal(authorization: string | undefined, place: string): Promise<Principal | undefined> {
    return this.authenticator.principal(authorization, place);
  }

  /** What became of calls of a function that is gone may have been for few. */
  functionAuth(lane: string): FunctionAuth {
    const entry = this.#catalog.get(lane);
    return entry ? (entry.policy.auth ?? this.standardAuth) : 'token';
  }

  /** Whether the function is there, and not for everybody. */
  isClosed(lane: string): boolean {
    return this.#catalog.get(lane) !== undefined && this.functionAuth(lane) !== 'public';
  }
}
