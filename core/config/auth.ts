import { join } from 'node:path';
import { z } from 'zod';
import type { BasicCredentials } from '../auth/basic.ts';
import { everyNamespace } from '../auth/principal.ts';
import { type Scope, scopes } from '../contracts/route.ts';
import { digestOf } from '../auth/token.ts';
import { messageOf } from '../contracts/errors.ts';
import type { FileFindings, Findings } from './findings.ts';
import { problem } from './issues.ts';
import type { Path } from './tree.ts';
import { dnsLabel, duration, secret } from './units.ts';

/** The files of OpenFaaS. */
const userFile = 'basic-auth-user';
const passwordFile = 'basic-auth-password';

const granted = {
  scopes: z
    .array(z.enum(scopes))
    .min(1)
    .describe(
      '`invoke`: call functions with `auth: token`. `deploy`: functions, secrets, namespaces. `operate`: all else.',
    ),
  namespaces: z
    .array(z.union([z.literal(everyNamespace), dnsLabel]))
    .min(1)
    .describe('Where; `*` is everywhere. What is in other namespaces is answered as if it were not there.'),
};

const basicSchema = z
  .strictObject({
    user: z
      .string()
      .min(1)
      .regex(/^[^:]*$/, 'expected no ":" in it, which ends the name in the header')
      .optional()
      .describe('User name.'),
    password: secret().optional().describe('Password; best as ${file:/run/secrets/…}.'),
    secretMountPath: z
      .string()
      .min(1)
      .optional()
      .describe(
        `Instead of the two: a folder with the files \`${userFile}\` and \`${passwordFile}\`, as OpenFaaS has them.`,
      ),
  })
  .superRefine(({ user, password, secretMountPath }, context) => {
    const issue = (key: string, message: string): void => context.addIssue({ code: 'custom', path: [key], message });
    if (secretMountPath !== undefined) {
      if (user !== undefined) issue('user', 'the files of secretMountPath say it already');
      if (password !== undefined) issue('password', 'the files of secretMountPath say it already');
      return;
    }
    if (user === undefined) issue('user', 'is required (expected string)');
    if (password === undefined) issue('password', 'is required (expected string)');
  });

const tokenSchema = z
  .strictObject({
    name: dnsLabel.describe('For the log.'),
    hash: z
      .string()
      .regex(
        /^sha256:[0-9a-f]{64}$/,
        'expected "sha256:" and 64 hexadecimal digits, as `millrace token create` prints it',
      )
      .optional()
      .describe('Of the token, as `millrace token create` prints it: what it is made of cannot be found from it.'),
    token: secret()
      .min(24, 'expected at least 24 characters, as `millrace token create` makes it: shorter ones can be guessed')
      .optional()
      .describe('Instead of the hash: the token itself, best as ${file:/run/secrets/…}.'),
    ...granted,
    expires: z.iso
      .datetime({ offset: true, error: 'expected a time such as 2030-01-31T00:00:00Z' })
      .optional()
      .describe('Refused from then on.'),
  })
  .superRefine(({ hash, token }, context) => {
    if ((hash === undefined) !== (token === undefined)) return;
    const message = hash === undefined ? 'is required (or `token`)' : 'give `hash` or `token`, not both';
    context.addIssue({ code: 'custom', path: ['hash'], message });
  });

/** No secret of the issuer's is needed for these, so that its public keys cannot be used as one. */
const algorithms = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'] as const;

const webUrl = z.url({ protocol: /^https?$/, error: 'expected a URL such as https://issuer.example.org' });

const ruleSchema = z
  .strictObject({
    claim: z
      .string()
      .min(1)
      .describe('Name of a claim; dots lead into maps (`realm_access.roles`), unless a claim is called just so.'),
    value: z.string().optional().describe('The claim must be this, or hold it where it is a list.'),
    pattern: z
      .string()
      .refine(isPattern, 'expected a regular expression')
      .optional()
      .describe('Instead: a regular expression for the whole of it.'),
    ...granted,
  })
  .superRefine(({ value, pattern }, context) => {
    if ((value === undefined) !== (pattern === undefined)) return;
    const message = value === undefined ? 'is required (or `pattern`)' : 'give `value` or `pattern`, not both';
    context.addIssue({ code: 'custom', path: ['value'], message });
  });

const issuerSchema = z.strictObject({
  issuer: webUrl.describe('As the tokens name it (`iss`), to the letter.'),
  audience: z
    .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
    .describe('What the tokens must be meant for (`aud`); of a list, one is enough.'),
  jwksUri: webUrl
    .optional()
    .describe('Where its keys are; by default what ISSUER/.well-known/openid-configuration says.'),
  algorithms: z
    .array(z.enum(algorithms))
    .min(1)
    .default(['RS256', 'ES256', 'EdDSA'])
    .describe('Signatures that are taken.'),
  clockTolerance: duration('30s')
    .refine((ms) => ms <= 300_000, 'expected at most 5m')
    .describe('How far its clock may be from ours.'),
  rules: z
    .array(ruleSchema)
    .min(1)
    .describe('What the claims of a token allow; all that fit count. Without one that fits, nothing is allowed.'),
});

/** The key `gateway.auth`, where it is not `none`. */
export const authSchema = z
  .strictObject({
    basic: basicSchema.optional().describe('HTTP basic authentication: a user who may do everything.'),
    tokens: z.array(tokenSchema).min(1).optional().describe('API tokens (`Authorization: Bearer …`).'),
    oidc: z.array(issuerSchema).min(1).optional().describe('OpenID Connect: whose JSON Web Tokens are taken.'),
  })
  .refine(({ basic, tokens, oidc }) => basic ?? tokens ?? oidc, 'expected basic, tokens or oidc; or the word none');

export interface TokenConfig {
  readonly name: string;
  /** SHA-256, in hexadecimal. */
  readonly digest: string;
  readonly scopes: readonly Scope[];
  readonly namespaces: readonly string[];
  /** Wall clock, ms. */
  readonly expiresAt?: number | undefined;
}

export type IssuerConfig = z.output<typeof issuerSchema>;
export type ClaimRule = z.output<typeof ruleSchema>;

/** How callers of the gateway show who they are; one of them at least is there. */
export interface AuthConfig {
  readonly basic?: BasicCredentials | undefined;
  readonly tokens?: readonly TokenConfig[] | undefined;
  readonly oidc?: readonly IssuerConfig[] | undefined;
}

/** With what the files of `secretMountPath` say, and of tokens the digests only. */
export function authOf(auth: 'none' | z.output<typeof authSchema>, findings: FileFindings): 'none' | AuthConfig {
  if (auth === 'none') return auth;
  const { basic, tokens, oidc } = auth;
  uniqueNames(tokens?.map(({ name }) => name) ?? [], ['gateway', 'auth', 'tokens'], 'name', findings);
  uniqueNames(oidc?.map(({ issuer }) => issuer) ?? [], ['gateway', 'auth', 'oidc'], 'issuer', findings);
  return {
    ...(basic && { basic: credentialsOf(basic, findings) }),
    ...(tokens && { tokens: tokens.map(tokenOf) }),
    ...(oidc && { oidc }),
  };
}

function credentialsOf(
  { user = '', password = '', secretMountPath: folder }: z.output<typeof basicSchema>,
  findings: FileFindings,
): BasicCredentials {
  if (folder === undefined) return { user, password };
  const credentials = { user: fileIn(folder, userFile, findings), password: fileIn(folder, passwordFile, findings) };
  if (credentials.password !== '') findings.secrets.push(credentials.password);
  return credentials;
}

/** Without its trailing newline, of which editors and `echo` leave one. */
function fileIn(folder: string, name: string, { read, problems, source }: FileFindings): string {
  const path = join(folder, name);
  const at = ['gateway', 'auth', 'basic', 'secretMountPath'];
  try {
    const text = read(path);
    if (text === '') problems.push(problem(at, `file ${path} is empty`, source));
    return text;
  } catch (error) {
    problems.push(problem(at, messageOf(error), source));
    return '';
  }
}

function tokenOf({
  name,
  hash,
  token = '',
  scopes: may,
  namespaces,
  expires,
}: z.output<typeof tokenSchema>): TokenConfig {
  return {
    name,
    digest: hash?.slice('sha256:'.length) ?? digestOf(token),
    scopes: may,
    namespaces,
    expiresAt: expires === undefined ? undefined : Date.parse(expires),
  };
}

function uniqueNames(names: readonly string[], at: Path, key: string, { problems, source }: Findings): void {
  for (const [index, name] of names.entries()) {
    if (names.indexOf(name) === index) continue;
    problems.push(problem([...at, index, key], `"${name}" is there twice`, source));
  }
}

function isPattern(text: string): boolean {
  try {
    RegExp(text, 'u'); // By itself: `a)|(b` is none, and would break out of the whole.
    patternOf(text);
    return true;
  } catch {
    return false; // What is wrong with it is said by the schema.
  }
}

/** For the whole of a text: half a match would let `admin` in as `not-admin`. */
export function patternOf(text: string): RegExp {
  return new RegExp(`^(?:${text})$`, 'u');
}
