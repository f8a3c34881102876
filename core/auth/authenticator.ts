import type { AuthConfig } from '../config/auth.ts';
import { basicCheck } from './basic.ts';
import type { issuerCheck, IssuerParts } from './issuer.ts';
import { allowedAll, type Principal } from './principal.ts';
import type { RefusalReason, Refusals } from './refusals.ts';
import { tokenCheck } from './token.ts';

export interface AuthParts extends IssuerParts {
  readonly refusals: Refusals;
}

/** What the answer to a call of a function without credentials asks for; faas-cli knows the realm. */
export const functionChallenge = 'Bearer realm="IAM function invoke"';

const nobodyAsked = allowedAll('anybody');
/** Three parts of base64url (RFC 7515 §7.1). */
const webToken = /^[\w-]+\.[\w-]+\.[\w-]*$/;

/** Makes sure of whom a request is from, by its header `Authorization`. */
export class Authenticator {
  /** The gateway asks nobody who he is: it listens on loopback only. */
  readonly isOff: boolean;
  /** What an answer of 401 asks for (RFC 9110 §11.6.1), for the API. */
  readonly challenges: readonly string[];
  readonly #auth: AuthConfig;
  readonly #parts: AuthParts;
  readonly #checkBasic: ReturnType<typeof basicCheck>;
  readonly #admin: Principal;
  readonly #checkToken: ReturnType<typeof tokenCheck>;
  #checkIssuers: Promise<ReturnType<typeof issuerCheck>> | undefined;

  constructor(auth: 'none' | AuthConfig, parts: AuthParts) {
    this.isOff = auth === 'none';
    this.#auth = auth === 'none' ? {} : auth;
    this.#parts = parts;
    const { basic, tokens = [], oidc = [] } = this.#auth;
    this.#checkBasic = basic ? basicCheck(basic) : () => false;
    this.#admin = allowedAll(`user ${basic?.user ?? ''}`);
    this.#checkToken = tokenCheck(tokens);
    this.challenges = [
      ...(basic ? ['Basic realm="Restricted"'] : []), // The words that OpenFaaS clients look for.
      ...(tokens.length + oidc.length > 0 ? ['Bearer realm="Restricted"'] : []),
    ];
  }

  /**
   * Undefined when nobody has these credentials, which is counted and logged with the place that they were meant for.
   * Where the gateway asks for none, whatever there is of them counts for nothing.
   *
   * Rejects with `issuer.unavailable` when that cannot be known now.
   */
  async principal(authorization: string | undefined, place: string): Promise<Principal | undefined> {
    if (this.isOff) return nobodyAsked;
    const found = await this.#find(authorization ?? '').catch((error: unknown) => {
      this.#parts.refusals.count('issuer', place);
      throw error;
    });
    if (typeof found !== 'string') return found;
    this.#parts.refusals.count(found, place);
    return undefined;
  }

  /** Counts and logs that a principal may not do what it asked for. */
  forbidden({ name }: Principal, place: string): void {
    this.#parts.refusals.count('forbidden', place, name);
  }

  async #find(header: string): Promise<Principal | RefusalReason> {
    const [, scheme = '', credentials = ''] = /^(\S+) +(\S+) *$/.exec(header) ?? [];
    // faas-cli sends `Bearer ` when it has none.
    if (credentials === '') return /^(?:basic|bearer)? *$/i.test(header) ? 'missing' : 'malformed';
    switch (scheme.toLowerCase()) {
      case 'basic':
        return this.#checkBasic(credentials) ? this.#admin : 'unknown';
      case 'bearer':
        return this.#bearer(credentials);
      default:
        return 'malformed';
    }
  }

  async #bearer(token: string): Promise<Principal | RefusalReason> {
    const { oidc } = this.#auth;
    const found = this.#checkToken(token, this.#parts.clock.now());
    if (found !== 'unknown' || !oidc || !webToken.test(token)) return found;
    // Its library takes 50 ms to load, which nobody pays who has no issuer.
    this.#checkIssuers ??= import('./issuer.ts').then((module) => module.issuerCheck(oidc, this.#parts));
    return (await this.#checkIssuers)(token);
  }
}
