import { exportSPKI, generateKeyPair, SignJWT, UnsecuredJWT } from 'jose';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Authenticator } from '../../core/auth/authenticator.ts';
import { reachOf, type Principal } from '../../core/auth/principal.ts';
import { authSchema, type IssuerConfig } from '../../core/config/auth.ts';
import { testAuthenticator } from '../support/authenticator.ts';
import { eventually } from '../support/gateway.ts';
import { type IssuerServer, startIssuer } from '../support/issuer-server.ts';

let time: number;
let issuer: IssuerServer;
let authenticator: Authenticator;
let log: string;

const clock = { now: () => 1_800_000_000_000 + time, monotonic: () => time };
const team = { claim: 'groups', value: 'ops', scopes: ['operate'], namespaces: ['a'] };

function configOf(more: Record<string, unknown> = {}): IssuerConfig {
  const { oidc } = authSchema.parse({
    oidc: [{ issuer: issuer.url, audience: 'millrace', algorithms: ['ES256'], rules: [team], ...more }],
  });
  return oidc?.[0] as IssuerConfig;
}

function asking(...configs: IssuerConfig[]): Authenticator {
  return testAuthenticator({ oidc: configs }, { clock, logger: pino({}, { write: (line) => (log += line) }) });
}

const ask = (token: string): Promise<Principal | undefined> => authenticator.principal(`Bearer ${token}`, 'here');

beforeEach(async () => {
  time = 0;
  log = '';
  issuer = await startIssuer(clock.now);
  authenticator = asking(configOf());
});
afterEach(() => issuer[Symbol.asyncDispose]());

describe('a token of an issuer that is known', () => {
  it('is let in, for what the rules make of its claims', async () => {
    const principal = await ask(await issuer.token({ groups: ['dev', 'ops'] }));
    expect(principal?.name).toBe(`${issuer.url} ada`);
    expect(principal && reachOf(principal, ['operate'])).toEqual(new Set(['a']));
    expect(principal && reachOf(principal, ['invoke', 'deploy'])).toEqual(new Set());
  });

  it('may do nothing where no rule fits', async () => {
    const principal = await ask(await issuer.token({ groups: ['dev'] }));
    expect(principal?.grants).toEqual([]);
  });

  it.each([
    ['a text', { claim: 'sub', value: 'ada' }, {}, true],
    ['another text', { claim: 'sub', value: 'ad' }, {}, false],
    ['a part of a text', { claim: 'sub', pattern: 'ad' }, {}, false],
    ['the whole of a text', { claim: 'sub', pattern: 'a.*|b' }, {}, true],
    ['either alternative as a whole only', { claim: 'sub', pattern: 'b|a' }, {}, false],
    ['one of a list', { claim: 'roles', pattern: 'x-\\d' }, { roles: ['y', 'x-1'] }, true],
    ['a word of scope', { claim: 'scope', value: 'run' }, { scope: 'read run' }, true],
    ['not a word of another claim', { claim: 'sub', value: 'run' }, { sub: 'read run' }, false],
    ['a map', { claim: 'realm_access.roles', value: 'ops' }, { realm_access: { roles: ['ops'] } }, true],
    ['a claim with dots', { claim: 'https://x.org/r', value: 'ops' }, { 'https://x.org/r': 'ops' }, true],
    ['no claim', { claim: 'roles', pattern: '.*' }, {}, false],
    ['a number', { claim: 'level', value: '3' }, { level: 3 }, false],
    ['what every object inherits', { claim: 'constructor.name', pattern: '.*' }, {}, false],
    ['a map where a text is meant', { claim: 'roles', pattern: '.*' }, { roles: { ops: true } }, false],
  ])('a rule fits %s', async (_name, rule, claims, fits) => {
    authenticator = asking(configOf({ rules: [{ ...rule, scopes: ['invoke'], namespaces: ['*'] }] }));
    const principal = await ask(await issuer.token(claims));
    expect(principal?.grants.length).toBe(fits ? 1 : 0);
  });

  it('is refused for another audience, issuer or time, or none', async () => {
    const now = clock.now() / 1000;
    expect(await ask(await issuer.token())).toBeDefined();
    for (const claims of [
      { aud: 'others' },
      { aud: ['others', 'millrac'] },
      { aud: undefined },
      { iss: `${issuer.url}/` },
      { iss: 'https://issuer.example.org' },
      { iss: undefined },
      { exp: now - 31 },
      { exp: undefined },
      { nbf: now + 31 },
    ]) {
      expect(await ask(await issuer.token(claims)), JSON.stringify(claims)).toBeUndefined();
    }
    for (const claims of [{ aud: ['others', 'millrace'] }, { exp: now - 29 }, { nbf: now + 29 }]) {
      expect(await ask(await issuer.token(claims)), JSON.stringify(claims)).toBeDefined();
    }
  });

  it('is refused once it has expired', async () => {
    const token = await issuer.token();
    expect(await ask(token)).toBeDefined();
    time = 60_000 + 30_000;
    expect(await ask(token)).toBeUndefined();
  });
});

describe('a forged token', () => {
  const claims = (): Record<string, unknown> => ({
    iss: issuer.url,
    aud: 'millrace',
    sub: 'eve',
    exp: clock.now() / 1000 + 60,
  });

  it('without a signature is refused', async () => {
    const unsecured = new UnsecuredJWT(claims()).encode();
    expect(await ask(unsecured)).toBeUndefined();
    const [header = '', payload] = (await issuer.token()).split('.');
    expect(await ask(`${header}.${payload}.`)).toBeUndefined();
    for (const alg of ['none', 'None', 'NONE', 'nOnE', '']) {
      const made = Buffer.from(JSON.stringify({ alg, kid: 'first' })).toString('base64url');
      expect(await ask(`${made}.${payload}.`), alg).toBeUndefined();
    }
  });

  it('whose secret is the public key is refused', async () => {
    await ask(await issuer.token()); // The keys are there.
    const secret = Buffer.from(await exportSPKI(await issuer.publicKey()));
    for (const alg of ['HS256', 'HS384', 'HS512']) {
      const forged = await new SignJWT(claims()).setProtectedHeader({ alg, kid: 'first' }).sign(secret);
      expect(await ask(forged), alg).toBeUndefined();
    }
  });

  it('of another key under the same name, or with a key of its own, is refused', async () => {
    const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
    const signed = (header: Record<string, unknown>): Promise<string> =>
      new SignJWT(claims()).setProtectedHeader({ alg: 'ES256', ...header }).sign(privateKey);
    const jwk = await crypto.subtle.exportKey('jwk', publicKey);
    expect(await ask(await signed({ kid: 'first' }))).toBeUndefined();
    expect(await ask(await signed({}))).toBeUndefined();
    expect(await ask(await signed({ jwk }))).toBeUndefined();
    expect(await ask(await signed({ kid: 'first', jku: 'http://127.0.0.1:1/keys' }))).toBeUndefined();
  });

  it('with other claims under a good signature is refused', async () => {
    const [header, , signature] = (await issuer.token()).split('.');
    const payload = Buffer.from(JSON.stringify({ ...claims(), groups: ['ops'] })).toString('base64url');
    expect(await ask(`${header}.${payload}.${signature}`)).toBeUndefined();
  });

  it('of an algorithm that is not taken is refused', async () => {
    const other = await startIssuer(clock.now, 'RS256');
    await using _ = other;
    authenticator = asking(configOf(), configOf({ issuer: other.url, algorithms: ['ES256'] }));
    expect(await ask(await other.token())).toBeUndefined();
    authenticator = asking(configOf(), configOf({ issuer: other.url, algorithms: ['RS256'] }));
    expect(await ask(await other.token())).toBeDefined();
    // Each issuer vouches for its own only.
    expect(await ask(await other.token({ iss: issuer.url }))).toBeUndefined();
  });

  it.each(['a.b.c', '..', 'e30.e30.', `${'a'.repeat(5000)}.b.c`])('%s is refused', async (token) => {
    expect(await ask(token)).toBeUndefined();
  });
});

describe('the keys of an issuer', () => {
  it('are fetched once for many tokens, also when these come at once', async () => {
    const tokens = await Promise.all(Array.from({ length: 20 }, () => issuer.token()));
    for (const principal of await Promise.all(tokens.map(ask))) expect(principal).toBeDefined();
    for (const token of tokens) await ask(token);
    expect(issuer.asked()).toBe(1);
  });

  it('that are new are found, and those that it no longer tells are no good', async () => {
    const old = await issuer.token();
    expect(await ask(old)).toBeDefined();
    await issuer.rotate('second');
    time += 5000;
    expect(await ask(await issuer.token())).toBeDefined();
    expect(issuer.asked()).toBe(2);
    expect(await ask(old)).toBeUndefined();
  });

  it('are asked for at most every five seconds, however many are made up', async () => {
    await ask(await issuer.token());
    time += 5000;
    for (let kid = 0; kid < 200; kid++) {
      expect(await ask(await issuer.token({}, { kid: `made-up-${kid}` }))).toBeUndefined();
    }
    expect(issuer.asked()).toBe(2);
    expect(await ask(await issuer.token())).toBeDefined();
  });

  it('are fetched again in the course of time, beside the requests', async () => {
    await ask(await issuer.token());
    time += 600_001;
    expect(await ask(await issuer.token())).toBeDefined();
    await eventually(() => (issuer.asked() === 2 ? true : undefined));
  });

  it('that cannot be had are 503, and neither let in nor call wrong', async () => {
    issuer.answerWith('nothing');
    const token = await issuer.token();
    const unavailable = { code: 'issuer.unavailable', status: 503, retryAfterSeconds: 5 };
    await expect(ask(token)).rejects.toMatchObject(unavailable);
    // Nor is every request a try.
    await expect(ask(token)).rejects.toMatchObject(unavailable);
    issuer.answerWith(undefined);
    await expect(ask(token)).rejects.toMatchObject(unavailable);
    expect(issuer.asked()).toBe(0);
    time += 5000;
    expect(await ask(token)).toBeDefined();
  });

  it('are good for an hour while it is away; a newer one cannot be known then', async () => {
    const token = await issuer.token({ exp: clock.now() / 1000 + 10_000 });
    expect(await ask(token)).toBeDefined();
    issuer.answerWith('nothing');
    time += 3_600_000;
    expect(await ask(token)).toBeDefined();
    await issuer.rotate('second');
    time += 1; // The background fetch has just failed.
    await eventually(() => (log.includes('could not be fetched') ? true : undefined));
    await expect(ask(await issuer.token())).rejects.toMatchObject({ status: 503 });
    time += 5000;
    await expect(ask(token)).rejects.toMatchObject({ status: 503 });
  });

  it.each([
    ['a redirect', { status: 302, body: '' }],
    ['an error', { status: 500, body: '{"keys":[]}' }],
    ['no JSON', { status: 200, body: '<html>' }],
    ['no keys', { status: 200, body: '{}' }],
    ['null', { status: 200, body: 'null' }],
    ['more than anybody has', { status: 200, body: `{"keys":[],"x":"${'a'.repeat(300_000)}"}` }],
  ])('are not had by %s', async (_name, answer) => {
    issuer.answerWith(answer);
    for (const config of [configOf(), configOf({ jwksUri: `${issuer.url}/keys` })]) {
      authenticator = asking(config);
      await expect(ask(await issuer.token())).rejects.toMatchObject({ code: 'issuer.unavailable' });
    }
  });

  it('are not those that another issuer tells under this name', async () => {
    await using other = await startIssuer(clock.now);
    issuer.answerWith({ status: 200, body: JSON.stringify({ issuer: other.url, jwks_uri: `${other.url}/keys` }) });
    const token = await other.token({ iss: issuer.url });
    await expect(ask(token)).rejects.toMatchObject({ code: 'issuer.unavailable' });
    expect(other.asked()).toBe(0);
  });

  it('are asked for where the configuration says, too', async () => {
    authenticator = asking(configOf({ jwksUri: `${issuer.url}/keys` }));
    expect(await ask(await issuer.token())).toBeDefined();
  });
});
