import fc from 'fast-check';
import { createHmac } from 'node:crypto';
import { expect } from 'vitest';
import { targetOf } from '../../connectors/http/request.ts';
import { verifySchema } from '../../connectors/http/config.ts';
import { verify } from '../../connectors/http/verify.ts';
import { Delivery } from '../../core/contracts/delivery.ts';
import { MillraceError } from '../../core/contracts/errors.ts';
import type { Headers } from '../../core/contracts/invocation.ts';
import { CallbackGuard, literalOf } from '../../core/delivery/callback-guard.ts';
import { isId } from '../../core/delivery/ids.ts';
import { parseRetryAfter } from '../../core/delivery/retry.ts';
import { Catalog } from '../../core/functions/catalog.ts';
import { preferOf } from '../../core/kit/headers.ts';
import { analyze } from '../../core/pipeline/analyze.ts';
import type { PipelineServices } from '../../core/pipeline/stage.ts';
import { manualClock } from '../../core/testing/manual-clock.ts';
import { fuzz } from './fuzz.ts';
import { headerText, nearly, nearlyBytes, noise } from './inputs.ts';

const now = Date.UTC(2026, 10, 28);
const clock = manualClock(now);
const url = nearly(
  '/function/echo/a/b?x=1&y=%20',
  '/function/echo.openfaas-fn',
  '/async-function/é?',
  '/function//',
  '*',
);
/** A message of a header, or a list, as Node gives one that came several times. */
const value = (...samples: readonly string[]): fc.Arbitrary<string | string[]> => {
  const one = fc.oneof({ weight: 2, arbitrary: nearly(...samples) }, { weight: 1, arbitrary: headerText });
  return fc.oneof({ weight: 9, arbitrary: one }, { weight: 1, arbitrary: fc.array(one, { maxLength: 3 }) });
};

fuzz({
  name: 'the target of a request',
  inputs: fc.oneof(url, noise),
  parse: (text) => targetOf(text, '/function/'.length),
  holds: ({ whole, name, path, query }, text) => {
    expect(name + path + query).toBe(text.slice('/function/'.length));
    expect(whole + query).toBe(text.length < '/function/'.length ? text + query : text);
    expect(path).toMatch(/^(?:\/|$)/);
    expect(query).toMatch(/^(?:\?|$)/);
    expect(name).not.toMatch(/[/?]/);
  },
  planted: (text) => {
    // As a URL, which takes "//" for a host, drops line breaks, and throws.
    const { pathname, search } = new URL(text, 'http://host');
    return { whole: pathname, name: pathname.split('/')[2] ?? '', path: '', query: search };
  },
});

const services = {
  catalog: new Catalog('openfaas-fn', clock),
  clock,
  limits: { depth: 16 },
} as unknown as PipelineServices;
const analyzing = analyze(services);

const asynchronous = fc.record(
  {
    'x-invoke-mode': value('async', 'sync'),
    prefer: value('respond-async, wait=10', 'respond-async', 'wait=1e9, respond-async'),
    'x-call-id': value('call-1'),
    'x-delay': value('250ms', '1m30s', 'PT30S', '366d'),
    'x-timeout': value('30s', '0s'),
    'x-max-age': value('2h'),
    'x-priority': value('9', '10'),
    'x-order-key': value('customer-1'),
    'idempotency-key': value('k1'),
    'x-call-depth': value('3', '17'),
    'x-callback-url': value('http://example.com/done'),
    traceparent: value('00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'),
  },
  { requiredKeys: [] },
) as fc.Arbitrary<Record<string, string | string[]>>;

function analyzed(name: string, headers: Record<string, string | string[]>): Delivery {
  const request = { function: name, method: 'POST', path: '', query: '', headers: { ...headers }, body: null };
  const delivery = new Delivery('http', request, { kind: 'replies', settle: () => undefined });
  void analyzing(delivery);
  return delivery;
}

fuzz({
  name: 'the headers of a call',
  inputs: fc.tuple(fc.oneof(nearly('echo', 'echo.openfaas-fn', 'a-b_c.d'), noise), asynchronous),
  parse: ([name, headers]) => analyzed(name, headers),
  holds: ({ invocation, options, outcome }) => {
    // Refused with a word, or whole.
    if (!invocation) return expect(outcome?.error?.code).toMatch(/^(?:request\.invalid|function\.missing)$/);
    expect(isId(invocation.id)).toBe(true);
    expect(invocation.function).toMatch(/^[-a-zA-Z_0-9.]+\.[-a-zA-Z_0-9]*$/);
    expect(invocation.timeoutMs).toBeGreaterThan(0);
    expect(invocation.timeoutMs).toBeLessThanOrEqual(30_000);
    expect([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]).toContain(invocation.priority);
    expect(outcome?.failure === 'loop').toBe(invocation.depth > 16);
    const { delayMs = 1, maxAgeMs = 1, orderKey = 'x', dedupKey = 'idempotency:x' } = options ?? {};
    for (const ms of [delayMs, maxAgeMs]) expect(Number.isSafeInteger(ms) && ms > 0).toBe(true);
    for (const key of [orderKey, dedupKey.slice('idempotency:'.length)]) {
      expect(key.length).toBeGreaterThan(0);
      expect(key.length).toBeLessThanOrEqual(255);
    }
  },
  planted: ([name, headers]) => {
    const { 'x-priority': asked = '5', ...others } = headers;
    const delivery = analyzed(name, others);
    // As Number() reads it: "", "1e3" and "0x10" are numbers.
    if (delivery.invocation) delivery.invocation = { ...delivery.invocation, priority: Number(asked) };
    return delivery;
  },
});

fuzz({
  name: 'Prefer',
  inputs: fc.record({ prefer: value('respond-async, wait=10', 'Respond-Async;x', 'wait=5, respond-async, wait=-1') }),
  parse: (headers) => preferOf(headers),
  holds: (prefer) => {
    if (prefer) expect(prefer.waitMs >= 0 && prefer.waitMs <= 300_000 && prefer.waitMs % 1000 === 0).toBe(true);
  },
  planted: ({ prefer }) => ({ waitMs: 1000 * Number.parseFloat(String(prefer).split('wait=')[1] ?? '0') }),
});

fuzz({
  name: 'Retry-After',
  inputs: fc.oneof(nearly('120', 'Fri, 31 Dec 2027 23:59:59 GMT', 'Fri Dec 31 23:59:59 2027', '99999999999'), noise),
  parse: (text) => parseRetryAfter(text, now),
  holds: (ms) => {
    if (ms !== undefined) expect(ms).toBeGreaterThanOrEqual(0);
  },
  planted: (text) => Date.parse(text) - now,
});

const guard = new CallbackGuard(['10.0.0.0/8', 'functions.internal']);
fuzz({
  name: 'a callback URL',
  inputs: fc.oneof(
    nearly(
      'http://example.com/done',
      'http://[::ffff:a9fe:a9fe]/',
      'https://0x7f.1/',
      'http://10.1.2.3:8080/x',
      'http://①②⑦.0.0.1/',
    ),
    fc.webUrl(),
    noise,
  ),
  parse: (text) => guard.checkUrl(text),
  holds: (checked, text) => {
    expect(checked.href).toBe(new URL(text).href);
    expect(checked.username + checked.password).toBe('');
    const literal = literalOf(checked.hostname);
    if (literal !== undefined) expect(literal).not.toMatch(/^(?:127\.|169\.254\.|0\.|::)/);
  },
  planted: (text) => new URL(text),
});

const secret = 'the secret of both';
const scheme = (settings: Record<string, unknown>) => verifySchema.parse({ secret, ...settings });
const schemes = [
  scheme({ scheme: 'github' }),
  scheme({ scheme: 'stripe' }),
  scheme({ scheme: 'standard-webhooks', secret: Buffer.from(secret).toString('base64') }),
  scheme({ scheme: 'hmac', header: 'X-Sign', encoding: 'base64' }),
];
const body = Buffer.from('{"event":"paid"}');
const mac = (...parts: (string | Uint8Array)[]): Buffer => {
  const made = createHmac('sha256', secret);
  for (const part of parts) made.update(part);
  return made.digest();
};
const at = now / 1000;
const signed: Readonly<Record<string, string>> = {
  'x-hub-signature-256': `sha256=${mac(body).toString('hex')}`,
  'stripe-signature': `t=${at},v1=${mac(`${at}.`, body).toString('hex')}`,
  'webhook-id': 'msg_1',
  'webhook-timestamp': String(at),
  'webhook-signature': `v1,${mac(`msg_1.${at}.`, body).toString('base64')}`,
  'x-sign': mac(body).toString('base64'),
};
const changed = fc
  .constantFrom(...Object.keys(signed))
  .chain((name) =>
    fc
      .oneof(nearly(signed[name] ?? ''), headerText)
      .map((text): Record<string, string> => ({ ...signed, [name]: text })),
  );

/** Signed for whoever reads a signature as leniently as Buffer does. */
const lenient = (headers: Headers): boolean =>
  Buffer.from(String(headers['x-hub-signature-256']).slice(7), 'hex').equals(mac(body));

fuzz({
  name: 'the signature of a webhook',
  inputs: fc.tuple(fc.nat(schemes.length - 1), changed, nearlyBytes(body)),
  parse: ([which, headers, bytes]) => {
    const config = schemes[which];
    if (!config) throw new MillraceError('internal', 'no such scheme');
    return verify(config, headers, bytes, now).ok;
  },
  holds: (ok, [, , bytes]) => {
    // Nobody who does not know the secret makes another message that holds.
    if (ok) expect(bytes.equals(body)).toBe(true);
  },
  planted: ([, headers]) => lenient(headers),
});
