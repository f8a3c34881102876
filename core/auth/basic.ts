import { hash, timingSafeEqual } from 'node:crypto';

export interface BasicCredentials {
  readonly user: string;
  readonly password: string;
}

/**
 * Whether the base64 of an `Authorization: Basic` header holds these. Compares digests, and always both, so that time
 * tells neither a name, nor a length, nor a common beginning.
 */
export function basicCheck({ user, password }: BasicCredentials): (base64: string) => boolean {
  const expectedUser = sha256(user);
  const expectedPassword = sha256(password);
  return (base64) => {
    const text = Buffer.from(base64, 'base64').toString('utf8');
    const colon = text.indexOf(':');
    // Without a colon there is no name, and nobody has none.
    const userMatches = timingSafeEqual(sha256(text.slice(0, Math.max(colon, 0))), expectedUser);
    const passwordMatches = timingSafeEqual(sha256(text.slice(colon + 1)), expectedPassword);
    return userMatches && passwordMatches;
  };
}

function sha256(text: string): Buffer {
  return hash('sha256', text, 'buffer');
}
