import { createLocalJWKSet, errors, type JWTVerifyGetKey } from 'jose';
import type { Logger } from 'pino';
import { z } from 'zod';
import type { Clock } from '../contracts/clock.ts';
import { MillraceError } from '../contracts/errors.ts';
import { jsonOf, readAll } from '../kit/body.ts';

/** After this time they are fetched anew, beside the requests. */
const freshMs = 600_000;
/** For so long they are good although the issuer cannot be reached. */
const usableMs = 3_600_000;
/** Between two fetches, whatever the first one gave: callers choose how often a key is not found. */
const pauseMs = 5000;
const timeoutMs = 5000;
const maxBytes = 262_144;

const discovery = z.looseObject({ issuer: z.string(), jwks_uri: z.url({ protocol: /^https?$/ }) });

/** The public keys of one issuer, as its endpoint tells them. Nothing is fetched for a request whose key is there. */
export class KeySet {
  readonly #issuer: string;
  readonly #uri: string | undefined;
  readonly #clock: Clock;
  readonly #logger: Logger;
  #keys: JWTVerifyGetKey | undefined;
  #fetchedAt = -Infinity;
  #triedAt = -Infinity;
  #hasFailed = false;
  #fetching: Promise<JWTVerifyGetKey> | undefined;

  /** `uri`: where they are; without it the issuer is asked (OpenID Connect Discovery 1.0). */
  constructor(issuer: string, uri: string | undefined, clock: Clock, logger: Logger) {
    this.#issuer = issuer;
    this.#uri = uri;
    this.#clock = clock;
    this.#logger = logger;
  }

  /**
   * The key that a token says it was signed with. Rejects with an error of jose's when there is none; with
   * `issuer.unavailable` when that cannot be known, since the issuer cannot be asked.
   */
  readonly find: JWTVerifyGetKey = async (header, token) => {
    const keys = await this.#current();
    try {
      return await keys(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      // It may be newer than what was fetched; or somebody made it up.
      if (this.#mayFetch()) return (await this.#fetch())(header, token);
      throw this.#hasFailed ? this.#unavailable() : error;
    }
  };

  #current(): JWTVerifyGetKey | Promise<JWTVerifyGetKey> {
    const age = this.#clock.monotonic() - this.#fetchedAt;
    if (this.#keys && age <= usableMs) {
      // A failure is logged; those that are there are good for a while.
      if (age > freshMs && this.#mayFetch()) this.#fetch().catch(() => undefined);
      return this.#keys;
    }
    if (!this.#mayFetch()) throw this.#unavailable();
    return this.#fetch();
  }

  #mayFetch(): boolean {
    return this.#fetching !== undefined || this.#clock.monotonic() - this.#triedAt >= pauseMs;
  }

  /** One at a time. Rejects with `issuer.unavailable`. */
  #fetch(): Promise<JWTVerifyGetKey> {
    this.#fetching ??= this.#fetchNow().finally(() => {
      this.#fetching = undefined;
    });
    return this.#fetching;
  }

  async #fetchNow(): Promise<JWTVerifyGetKey> {
    this.#triedAt = this.#clock.monotonic();
    try {
      const document = await json(this.#uri ?? (await this.#discovered()));
      this.#keys = createLocalJWKSet(document as Parameters<typeof createLocalJWKSet>[0]); // It looks for itself.
      this.#fetchedAt = this.#clock.monotonic();
      this.#hasFailed = false;
      return this.#keys;
    } catch (error) {
      this.#hasFailed = true;
      this.#logger.warn({ err: error, issuer: this.#issuer }, 'the keys of an issuer could not be fetched');
      throw this.#unavailable(error);
    }
  }

  async #discovered(): Promise<string> {
    const url = `${this.#issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
    const parsed = discovery.safeParse(await json(url));
    if (!parsed.success) throw new Error(`${url} is no OpenID configuration with issuer and jwks_uri`);
    const { issuer, jwks_uri: uri } = parsed.data;
    if (issuer !== this.#issuer) throw new Error(`${url} is that of another issuer: ${JSON.stringify(issuer)}`);
    return uri;
  }

  #unavailable(cause?: unknown): MillraceError {
    const leftMs = this.#triedAt + pauseMs - this.#clock.monotonic();
    const message = 'the issuer of the token cannot be asked for its keys';
    return new MillraceError('issuer.unavailable', message, {
      cause,
      retryAfterSeconds: Math.max(1, Math.ceil(leftMs / 1000)),
    });
  }
}

/** No redirect is followed: what stands in the configuration, or in the issuer's own document, is what is asked. */
async function json(url: string): Promise<unknown> {
  const { request } = await import('undici');
  const { statusCode, body } = await request(url, {
    headers: { accept: 'application/json' },
    headersTimeout: timeoutMs,
    signal: AbortSignal.timeout(2 * timeoutMs), // One that drips is cut off, too.
  });
  try {
    if (statusCode !== 200) throw new Error(`${url} answered ${statusCode}`);
    const tooLarge = (): Error => new Error(`${url} answered more than ${maxBytes} bytes`);
    const value = jsonOf(await readAll(body, maxBytes, tooLarge));
    if (value === undefined) throw new Error(`${url} did not answer JSON`);
    return value;
  } finally {
    body.on('error', () => undefined); // Destroyed before its end, it says so.
    body.destroy();
  }
}
