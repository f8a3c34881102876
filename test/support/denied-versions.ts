/**
 * Releases with a hole that a gateway must not have, as far as one of them could come with our dependencies: below each
 * `fixed` version, from the release line of `from` on. By name, with where it was published. Offline and by hand: `npm audit`
 * needs a registry that answers it.
 */
export const deniedVersions: Readonly<Record<string, readonly Denied[]>> = {
  '@fastify/express': [{ fixed: '4.0.5', why: 'CVE-2026-22037, CVE-2026-33807, CVE-2026-33808' }],
  '@fastify/reply-from': [
    { fixed: '12.6.2', why: 'c815dc4: Connection strips added headers' },
    { fixed: '12.6.4', why: 'GHSA-qmw8-3v4g-gwj4, GHSA-v2v2-hph8-q5xp, GHSA-v574-6498-x57v' },
  ],
  '@fastify/static': [{ fixed: '10.1.1', why: 'CVE-2026-6414, CVE-2026-15074' }],
  axios: [
    { fixed: '0.32.0', why: 'CVE-2026-44492' },
    { from: '1.0.0', fixed: '1.16.0', why: 'CVE-2026-44492' },
  ],
  fastify: [
    { fixed: '4.29.1', why: 'CVE-2022-39288, CVE-2025-32442' },
    { from: '5.0.0', fixed: '5.8.3', why: 'CVE-2025-32442, CVE-2026-3419, CVE-2026-3635' },
  ],
  'find-my-way': [
    { fixed: '8.2.2', why: 'CVE-2024-45813' },
    { from: '9.0.0', fixed: '9.0.1', why: 'CVE-2024-45813' },
  ],
  'http-proxy-middleware': [{ fixed: '3.0.7', why: 'CVE-2024-21536, CVE-2025-32996, CVE-2026-55602' }],
  // The program that the tests and the image run on.
  node: [
    { fixed: '22.23.2', why: 'CVE-2026-58044, and all others of §2 before it' },
    { from: '23.0.0', fixed: '24.18.1', why: 'CVE-2026-58044' },
    { from: '25.0.0', fixed: '26.5.1', why: 'CVE-2026-58044' },
  ],
  undici: [
    { fixed: '6.24.0', why: 'CVE-2026-22036, CVE-2026-1525' },
    { from: '7.0.0', fixed: '7.24.0', why: 'CVE-2026-22036, CVE-2026-1525' },
  ],
};

export interface Denied {
  /** The first release that is denied; without it all before `fixed` are. */
  readonly from?: string;
  readonly fixed: string;
  readonly why: string;
}

/** Why that release must not be used; undefined when it may. */
export function denialOf(name: string, version: string): string | undefined {
  const denied = Object.hasOwn(deniedVersions, name) ? deniedVersions[name] : undefined;
  return denied?.find(({ from = '0.0.0', fixed }) => !isBefore(version, from) && isBefore(version, fixed))?.why;
}

function isBefore(one: string, other: string): boolean {
  const [a, b] = [one, other].map((text) => text.split(/[.-]/, 3).map(Number));
  const differs = a?.findIndex((number, index) => number !== b?.[index]) ?? -1;
  if (differs === -1) return one.includes('-') && !other.includes('-'); // 1.0.0-rc.1 comes before 1.0.0.
  return (a?.[differs] ?? 0) < (b?.[differs] ?? 0);
}
