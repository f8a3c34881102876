/**
 * A key as a subject's tokens: one for each part between slashes, so that the server can find what begins with whole
 * parts. Tokens take few characters, hence base 64; an empty part is a token all the same.
 */
export function tokensOf(key: string): string {
  return key
    .split('/')
    .map((part) => `_${Buffer.from(part).toString('base64url')}`)
    .join('.');
}

export function keyOf(tokens: string): string {
  return tokens
    .split('.')
    .map((token) => Buffer.from(token.slice(1), 'base64url').toString())
    .join('/');
}

/** The narrowest subjects that match every key with this prefix, and some more. */
export function filterOf(prefix: string): string {
  const slash = prefix.lastIndexOf('/');
  return slash < 0 ? '>' : `${tokensOf(prefix.slice(0, slash))}.>`;
}
