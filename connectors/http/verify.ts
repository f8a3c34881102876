import { createHmac, hash, timingSafeEqual } from 'node:crypto';
import type { Headers } from '../../core/contracts/invocation.ts';
import { headerOf } from '../../core/kit/headers.ts';
import { standardKey, type VerifyConfig } from './config.ts';

/** `key` is the same for the same event, and for no other. */
export type Verified = { readonly ok: true; readonly key: string } | { readonly ok: false; readonly reason: string };

/** What the sender claims, before any of it is believed. */
interface Claim {
  /** What was signed: these, one after another. */
  readonly signed: readonly (string | Uint8Array)[];
  readonly signatures: readonly Buffer[];
  /** Wall clock, s; undefined where none is signed. */
  readonly at?: number | undefined;
  /** The sender's own id of the event, where it is signed. */
  readonly id?: string | undefined;
}

/**
 * Whether the body was signed by who knows the secret, not too long ago. Signatures are compared in constant time, and
 * every reason is told alike to the caller; this one is for the log. Without a signed id the event's key is made of its
 * bytes.
 */
export function verify(config: VerifyConfig, headers: Headers, body: Uint8Array, nowMs: number): Verified {
  const claim = claims[config.scheme](headers, body, config);
  if (typeof claim === 'string') return { ok: false, reason: claim };
  if (claim.at !== undefined && Math.abs(nowMs - claim.at * 1000) > config.tolerance) {
    return { ok: false, reason: `it was signed at ${claim.at}, which is too far from now` };
  }
  const secrets = config.previousSecret === undefined ? [config.secret] : [config.secret, config.previousSecret];
  const matches = secrets.map((secret) => isSigned(claim, secret, config));
  if (!matches.includes(true)) return { ok: false, reason: 'the signature is not that of the body' };
  return { ok: true, key: claim.id ?? hash('sha256', body) };
}

function isSigned({ signed, signatures }: Claim, secret: string, { scheme, algorithm }: VerifyConfig): boolean {
  const mac = createHmac(
    scheme === 'hmac' ? algorithm : 'sha256',
    scheme === 'standard-webhooks' ? standardKey(secret) : secret,
  );
  for (const part of signed) mac.update(part);
  const expected = mac.digest();
  // No early end: the time tells nothing of which one it was.
  return signatures.map((one) => one.length === expected.length && timingSafeEqual(one, expected)).includes(true);
}

/** The claim, or what is missing of it. */
const claims: Readonly<
  Record<VerifyConfig['scheme'], (headers: Headers, body: Uint8Array, config: VerifyConfig) => Claim | string>
> = {
  /** https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries */
  github: (headers, body) => macOf(headers, body, { name: 'x-hub-signature-256', prefix: 'sha256=', encoding: 'hex' }),

  /** https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md */
  'standard-webhooks': (headers, body) => {
    const [id, time, list] = ['webhook-id', 'webhook-timestamp', 'webhook-signature'].map((name) =>
      headerOf(headers, name),
    );
    if (!id || !time || !list) return 'it has no webhook-id, webhook-timestamp or webhook-signature';
    const at = secondsOf(time);
    if (at === undefined) return 'its webhook-timestamp is not a time';
    const signatures = list
      .split(' ')
      .flatMap((one) => (one.startsWith('v1,') ? [decoded(one.slice(3), 'base64')] : []));
    return { signed: [`${id}.${time}.`, body], signatures: present(signatures), at, id };
  },

  /** https://docs.stripe.com/webhooks#verify-manually */
  stripe: (headers, body) => {
    const text = headerOf(headers, 'stripe-signature');
    if (!text) return 'it has no Stripe-Signature';
    const fields = text.split(',').map((field) => field.trim().split('=', 2) as [string, string | undefined]);
    const valuesOf = (wanted: string): string[] =>
      fields.flatMap(([name, value]) => (name === wanted && value !== undefined ? [value] : []));
    const [time = ''] = valuesOf('t');
    const at = secondsOf(time);
    if (at === undefined) return 'its Stripe-Signature has no time';
    return { signed: [`${time}.`, body], signatures: present(valuesOf('v1').map((one) => decoded(one, 'hex'))), at };
  },

  hmac: (headers, body, { header = '', prefix, encoding }) =>
    macOf(headers, body, { name: header.toLowerCase(), prefix, encoding }),
};

function macOf(
  headers: Headers,
  body: Uint8Array,
  { name, prefix, encoding }: { name: string; prefix: string; encoding: 'hex' | 'base64' },
): Claim | string {
  const text = headerOf(headers, name);
  if (text === undefined) return `it has no ${name}`;
  if (!text.startsWith(prefix)) return `its ${name} does not begin with ${prefix}`;
  return { signed: [body], signatures: present([decoded(text.slice(prefix.length), encoding)]) };
}

/** Undefined when it is not written that way: Buffer would read what it can of anything. */
function decoded(text: string, encoding: 'hex' | 'base64'): Buffer | undefined {
  const form = encoding === 'hex' ? /^(?:[0-9a-fA-F]{2})+$/ : /^[A-Za-z0-9+/]+={0,2}$/;
  return text.length <= 200 && form.test(text) ? Buffer.from(text, encoding) : undefined;
}

function present(signatures: readonly (Buffer | undefined)[]): Buffer[] {
  return signatures.filter((one) => one !== undefined);
}

function secondsOf(text: string): number | undefined {
  return /^\d{1,12}$/.test(text) ? Number(text) : undefined;
}
