import { decodeJwt, errors, type JWTPayload, jwtVerify } from 'jose';
import type { Logger } from 'pino';
import { type ClaimRule, type IssuerConfig, patternOf } from '../config/auth.ts';
import type { Clock } from '../contracts/clock.ts';
import { MillraceError } from '../contracts/errors.ts';
import { KeySet } from './key-set.ts';
import type { Grant, Principal } from './principal.ts';
import type { RefusalReason } from './refusals.ts';

export interface IssuerParts {
  readonly clock: Clock;
  readonly logger: Logger;
  /** By issuer: kept over reloads, which would otherwise ask every issuer again. */
  readonly keySets: Map<string, KeySet>;
}

/**
 * Makes sure of JSON Web Tokens: their signature, issuer, audience and times (RFC 8725). Rejects with
 * `issuer.unavailable` when the keys cannot be had.
 */
export function issuerCheck(
  configs: readonly IssuerConfig[],
  parts: IssuerParts,
): (token: string) => Promise<Principal | RefusalReason> {
  const issuers = new Map(configs.map((config) => [config.issuer, issuerOf(config, parts)]));
  return async (token) => {
    const issuer = issuers.get(issuerIn(token) ?? '');
    return issuer ? issuer(token) : 'unknown';
  };
}

function issuerOf(
  { issuer, audience, jwksUri, algorithms, clockTolerance, rules }: IssuerConfig,
  { clock, logger, keySets }: IssuerParts,
): (token: string) => Promise<Principal | RefusalReason> {
  const key = `${issuer} ${jwksUri ?? ''}`;
  const keySet = keySets.get(key) ?? new KeySet(issuer, jwksUri, clock, logger);
  keySets.set(key, keySet);
  const grantOf = rules.map(ruleOf);
  return async (token) => {
    try {
      const { payload } = await jwtVerify(token, keySet.find, {
        issuer,
        audience,
        // Asymmetric ones only: a public key is never taken for a secret, and `none` is none of them.
        algorithms,
        clockTolerance: clockTolerance / 1000,
        currentDate: new Date(clock.now()),
        requiredClaims: ['exp'],
      });
      const grants = grantOf.flatMap((grant) => grant(payload) ?? []);
      return { name: `${issuer} ${payload.sub ?? 'without sub'}`, grants };
    } catch (error) {
      return reasonOf(error, logger);
    }
  };
}

/** What it says of itself, only to know whom to ask. */
function issuerIn(token: string): string | undefined {
  try {
    return decodeJwt(token).iss;
  } catch {
    return undefined; // Refused like one of an issuer that is not known.
  }
}

function reasonOf(error: unknown, logger: Logger): RefusalReason {
  if (error instanceof MillraceError) throw error;
  if (error instanceof errors.JWTExpired) return 'expired';
  if (error instanceof errors.JWTClaimValidationFailed) return 'claims';
  if (error instanceof errors.JWSSignatureVerificationFailed || error instanceof errors.JWKSNoMatchingKey) {
    return 'unknown';
  }
  // A key of the issuer's that cannot be used, such as a short one, is no reason to let anybody in.
  if (!(error instanceof errors.JOSEError)) logger.warn({ err: error }, 'a token could not be verified');
  return 'malformed';
}

function ruleOf({ claim, value, pattern, scopes, namespaces }: ClaimRule): (claims: JWTPayload) => Grant | undefined {
  const wanted = pattern === undefined ? undefined : patternOf(pattern);
  const fits = (text: string): boolean => (wanted ? wanted.test(text) : text === value);
  return (claims) => (textsOf(claims, claim).some(fits) ? { scopes, namespaces } : undefined);
}

/** The claim as a list of texts. `scope` is one text of several words (RFC 8693 §4.2), and so is Entra's `scp`. */
function textsOf(claims: JWTPayload, name: string): readonly string[] {
  const claim = claimOf(claims, name);
  if (typeof claim === 'string') return name === 'scope' || name === 'scp' ? claim.split(' ') : [claim];
  return Array.isArray(claim) ? claim.filter((item) => typeof item === 'string') : [];
}

function claimOf(claims: JWTPayload, name: string): unknown {
  if (Object.hasOwn(claims, name)) return claims[name];
  return name.split('.').reduce<unknown>((node, step) => {
    if (typeof node !== 'object' || node === null || !Object.hasOwn(node, step)) return undefined;
    return (node as Readonly<Record<string, unknown>>)[step];
  }, claims);
}
