import { hash, randomBytes } from 'node:crypto';
import type { TokenConfig } from '../config/auth.ts';
import type { Principal } from './principal.ts';

const digits = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
/** 62^43 is the first power above 2^256. */
const length = 43;

/** A new API token: `mr_` and 32 random bytes in base 62. */
export function createToken(): string {
  let rest = BigInt(`0x${randomBytes(32).toString('hex')}`);
  let text = '';
  for (let place = 0; place < length; place++) {
    text = `${digits[Number(rest % 62n)]}${text}`;
    rest /= 62n;
  }
  return `mr_${text}`;
}

/** SHA-256 in hexadecimal. Without salt or stretching: nobody can try 2^256 tokens. */
export function digestOf(token: string): string {
  return hash('sha256', token);
}

export type FoundToken = Principal | 'unknown' | 'expired';

/**
 * Finds a token by its digest. That is as good as comparing in constant time: who guesses cannot choose how a digest
 * begins, so how far a look-up got tells nothing of a token.
 */
export function tokenCheck(tokens: readonly TokenConfig[]): (token: string, nowMs: number) => FoundToken {
  const byDigest = new Map(
    tokens.map(({ name, digest, scopes, namespaces, expiresAt = Infinity }) => [
      digest,
      { principal: { name: `token ${name}`, grants: [{ scopes, namespaces }] }, expiresAt },
    ]),
  );
  return (token, nowMs) => {
    const found = byDigest.get(digestOf(token));
    if (!found) return 'unknown';
    return nowMs < found.expiresAt ? found.principal : 'expired';
  };
}
