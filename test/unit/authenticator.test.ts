import crypto, { hash } from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import type { Authenticator } from '../../core/auth/authenticator.ts';
import { isWithin, reachOf, type Principal } from '../../core/auth/principal.ts';
import { createToken, digestOf } from '../../core/auth/token.ts';
import type { AuthConfig, TokenConfig } from '../../core/config/auth.ts';
import { testAuthenticator } from '../support/authenticator.ts';

const basic = { user: 'admin', password: 'correct horse' };
const token = createToken();
const tokenConfig: TokenConfig = { name: 'ci', digest: digestOf(token), scopes: ['deploy'], namespaces: ['a'] };
const inBase64 = (text: string): string => Buffer.from(text).toString('base64');

function world(auth: AuthConfig): {
  authenticator: Authenticator;
  lines: Record<string, unknown>[];
  text: () => string;
  failures: () => Promise<Record<string, number>>;
  time: { now: number };
} {
  const written: string[] = [];
  const metrics = new Registry();
  const time = { now: 0 };
  const lines: Record<string, unknown>[] = [];
  const write = (line: string): void => {
    written.push(line);
    lines.push(JSON.parse(line) as Record<string, unknown>);
  };
  const authenticator = testAuthenticator(auth, {
    logger: pino({}, { write }),
    metrics,
    clock: { now: () => time.now, monotonic: () => time.now },
  });
  const failures = async (): Promise<Record<string, number>> => {
    const [metric] = await metrics.getMetricsAsJSON();
    const counted = (metric?.values ?? []) as { value: number; labels: { reason: string } }[];
    return Object.fromEntries(counted.filter(({ value }) => value > 0).map((one) => [one.labels.reason, one.value]));
  };
  return { authenticator, lines, text: () => written.join(''), failures, time };
}

describe('a user with a password', () => {
  const { authenticator } = world({ basic });
  const ask = (header?: string): Promise<Principal | undefined> => authenticator.principal(header, 'here');
  it('is let in with both, and may do everything', async () => {
    const principal = await ask(`Basic ${inBase64('admin:correct horse')}`);
    expect(principal?.name).toBe('user admin');
    expect(principal && reachOf(principal, ['operate'])).toBe('all');
    expect(await ask(`bAsIc   ${inBase64('admin:correct horse')}  `)).toBeDefined();
  });
  it.each([
    undefined,
    '',
    'Basic',
    'Basic ',
    `Basic ${inBase64('admin:correct hors')}`,
    `Basic ${inBase64('admin:correct horse ')}`,
    `Basic ${inBase64('Admin:correct horse')}`,
    `Basic ${inBase64('admin')}`,
    `Basic ${inBase64(':')}`,
    `Basic ${inBase64('')}`,
    `Basic ${inBase64(':correct horse')}`,
    `Basic ${inBase64('admin:')}`,
    `Basic admin:correct horse`,
    `Bearer ${inBase64('admin:correct horse')}`,
    'Bearer correct horse',
    `Digest ${inBase64('admin:correct horse')}`,
    inBase64('admin:correct horse'),
    `Basic ${inBase64('admin:correct horse')} x`,
  ])('is not let in with %s', async (header) => {
    expect(await ask(header)).toBeUndefined();
  });
  // Traefik CVE-2026-32595, -41263, -71326, Node CVE-2026-21713: the time of a refusal told who there was.
  it('is compared whole, name and password, by digests of one length, whatever is wrong with it', async () => {
    const real = crypto.timingSafeEqual;
    const compared: number[] = [];
    const spy = (one: NodeJS.ArrayBufferView, other: NodeJS.ArrayBufferView): boolean => {
      compared.push(one.byteLength);
      return real(one, other);
    };
    Object.assign(crypto, { timingSafeEqual: spy });
    syncBuiltinESMExports();
    try {
      for (const text of ['admin:correct horse', 'admin:wrong', 'wrong:correct horse', 'x', ':', 'a'.repeat(3000)]) {
        compared.length = 0;
        await ask(`Basic ${inBase64(text)}`);
        expect([text.slice(0, 20), compared]).toEqual([text.slice(0, 20), [32, 32]]);
      }
    } finally {
      Object.assign(crypto, { timingSafeEqual: real });
      syncBuiltinESMExports();
    }
  });
  it('is not let in by nothing where there is none', async () => {
    const tokensOnly = world({ tokens: [tokenConfig] }).authenticator;
    for (const text of ['', ':', 'undefined:undefined', 'admin:']) {
      expect(await tokensOnly.principal(`Basic ${inBase64(text)}`, 'here')).toBeUndefined();
    }
  });
});

describe('a token', () => {
  it('is made of 32 random bytes in 43 digits, whatever they are', () => {
    const made = Array.from({ length: 2000 }, createToken);
    for (const one of made) expect(one).toMatch(/^mr_[0-9A-Za-z]{43}$/);
    expect(new Set(made).size).toBe(2000);
    // Every place but the first, which only says a little, has every digit.
    for (const place of [4, 20, 45]) expect(new Set(made.map((one) => one[place])).size).toBe(62);
  });
  it('is kept as its digest only', () => {
    expect(digestOf('abc')).toBe(hash('sha256', 'abc', 'hex'));
  });
  it('is let in for what it may do, where it may, until it expires', async () => {
    const { authenticator, time } = world({ tokens: [{ ...tokenConfig, expiresAt: 1000 }] });
    const ask = (header: string): Promise<Principal | undefined> => authenticator.principal(header, 'here');
    const principal = await ask(`Bearer ${token}`);
    expect(principal?.name).toBe('token ci');
    const reach = principal && reachOf(principal, ['deploy', 'operate']);
    expect(reach && [isWithin(reach, 'a'), isWithin(reach, 'b'), isWithin(reach, '*')]).toEqual([true, false, false]);
    expect(principal && reachOf(principal, ['invoke', 'operate'])).toEqual(new Set());
    time.now = 999;
    expect(await ask(`bearer ${token}`)).toBeDefined();
    time.now = 1000;
    expect(await ask(`Bearer ${token}`)).toBeUndefined();
  });
  it.each([
    'Bearer',
    'Bearer ',
    `Bearer ${token.slice(0, -1)}`,
    `Bearer ${token}x`,
    `Bearer ${token.toLowerCase()}`,
    `Bearer ${digestOf(token)}`,
    `Bearer sha256:${digestOf(token)}`,
    `Basic ${inBase64(`:${token}`)}`,
    `Basic ${token}`,
    token,
    'Bearer __proto__',
    'Bearer constructor',
    `Bearer ${'a'.repeat(16_000)}`,
  ])('is not %s', async (header) => {
    const { authenticator } = world({ tokens: [tokenConfig] });
    expect(await authenticator.principal(header, 'here')).toBeUndefined();
  });
});

describe('what is refused', () => {
  it('is counted by its reason', async () => {
    const expired = createToken();
    const expiredConfig = { ...tokenConfig, name: 'old', digest: digestOf(expired), expiresAt: -1 };
    const { authenticator, failures } = world({ basic, tokens: [tokenConfig, expiredConfig] });
    for (const header of [undefined, '', 'Bearer ', 'Digest x', 'Basic !', 'Bearer wrong', `Bearer ${expired}`]) {
      await authenticator.principal(header, 'here');
    }
    await authenticator.principal(`Bearer ${token}`, 'here');
    const principal: Principal = { name: 'token ci', grants: [] };
    authenticator.forbidden(principal, 'POST /system/functions');
    expect(await failures()).toEqual({ missing: 3, malformed: 1, unknown: 2, expired: 1, forbidden: 1 });
  });

  it('is logged once in ten seconds, with how often it was not, and never with what was shown', async () => {
    const { authenticator, lines, text, time } = world({ basic, tokens: [tokenConfig] });
    const guess = async (): Promise<void> => {
      await authenticator.principal(`Basic ${inBase64('admin:canary-password')}`, 'GET /system/functions');
      await authenticator.principal('Bearer canary-token', 'GET /system/functions');
    };
    for (let time = 0; time < 100; time++) await guess();
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatchObject({ level: 40, reason: 'unknown', place: 'GET /system/functions', unlogged: 0 });
    time.now += 10_000;
    await guess();
    expect(lines).toHaveLength(2);
    expect(lines[1]).toMatchObject({ unlogged: 199 });
    expect(text()).not.toMatch(/canary|Y2FuYXJ5/);
  });

  it('takes no longer for a header without an end', async () => {
    const { authenticator } = world({ basic });
    const header = `${'a'.repeat(16_000)} b c`;
    const began = process.cpuUsage().user;
    for (let round = 0; round < 20; round++) await authenticator.principal(header, 'here');
    // Of a pattern that tries every way to part it, each round takes more than that.
    expect(process.cpuUsage().user - began).toBeLessThan(1_000_000);
  });
});
