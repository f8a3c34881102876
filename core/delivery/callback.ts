import { createHmac } from 'node:crypto';
import type { LookupFunction } from 'node:net';
import type { Agent, Dispatcher } from 'undici';
import type { Clock } from '../contracts/clock.ts';
import { type ErrorCode, messageOf, MillraceError } from '../contracts/errors.ts';
import type { Headers, Invocation, Outcome } from '../contracts/invocation.ts';
import { isOwnFunction } from '../contracts/provider.ts';
import { traceContextOf } from '../kit/headers.ts';
import { qualified } from '../kit/names.ts';
import { failed } from '../kit/outcome.ts';
import { CallbackGuard, literalOf, type Lookup, type ResolvedAddress } from './callback-guard.ts';

/** What is kept of the receiver's answer; the rest is not read. */
const maxAnswerBytes = 64 * 1024;

/** How long accepting an invocation waits for a name server before it leaves the check to the sending. */
const acceptLookupMs = 2000;

/**
 * Never sent to a receiver: about another connection, about another host, credentials, for us to set, or, where the
 * receiver is a gateway as well, the wish for another callback: two could send each other answers for ever.
 */
const withheld = new Set([
  'connection',
  'proxy-connection',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'expect',
  'content-length',
  'host',
  'authorization',
  'proxy-authorization',
  'proxy-authenticate',
  'cookie',
  'set-cookie',
  'user-agent',
  'x-callback-url',
  'webhook-id',
  'webhook-timestamp',
  'webhook-signature',
  'x-millrace-signature-256',
]);

export interface CallbackSenderOptions {
  /** Hosts, addresses and CIDR networks that may be private or loopback. */
  readonly allow: readonly string[];
  /** For the whole call, from the name look-up to the last byte of the answer. */
  readonly timeoutMs: number;
  /** Signs every callback. `whsec_…` is taken as base64, as Standard Webhooks has it; anything else as it is. */
  readonly secret?: string | undefined;
  readonly userAgent: string;
  readonly clock: Clock;
  /** For tests. */
  readonly lookup?: Lookup | undefined;
}

export interface CallbackCall {
  readonly url: string;
  readonly headers: Headers;
  readonly body: Uint8Array;
  readonly signal: AbortSignal;
  /** The same for every attempt, so that the receiver can tell a repetition. Default: header X-Invocation-Id. */
  readonly id?: string | undefined;
}

export interface CallbackSender {
  /** Rejects with `callback.refused` what may not be called; for use before an invocation is accepted. */
  check(url: string): Promise<void>;
  /**
   * POSTs once. Never rejects: what came of it is the outcome. Below 300 is success; a redirect, which is never
   * followed, and 410 are `refused`, hence permanent; other statuses are the receiver's, for the retry policy.
   */
  send(call: CallbackCall): Promise<Outcome>;
  close(): Promise<void>;
}

/** A function of this gateway that a callback goes to. */
export interface CallbackFunction {
  /** `name.namespace` */
  readonly lane: string;
  readonly path: string;
  readonly query: string;
}

/**
 * The function that a callback URL means, where its host is this gateway by one of the names that OpenFaaS' users have for it:
 * the outcome then goes into the function's queue instead of over HTTP, and cannot be lost on the way.
 */
export function callbackFunctionOf(
  text: string,
  hosts: readonly string[],
  namespace: string,
): CallbackFunction | undefined {
  const url = URL.parse(text);
  if (url?.protocol !== 'http:' || !hosts.includes(url.hostname)) return undefined;
  const parts = /^\/(?:async-)?function\/([-a-zA-Z_0-9.]+)(\/.*)?$/.exec(url.pathname);
  if (!parts) return undefined;
  const [, name = '', path = ''] = parts;
  const lane = qualified(name, namespace);
  return isOwnFunction(lane) ? undefined : { lane, path, query: url.search };
}

/**
 * POSTs the outcomes of asynchronous invocations to their callback URLs, and nowhere it should not: a host is resolved
 * when the connection is made, every address of it is checked, and the connection goes to one that was checked.
 *
 * With a secret each request is signed as Standard Webhooks has it: `webhook-id`, `webhook-timestamp` (seconds), and
 * `webhook-signature: v1,BASE64` with the HMAC-SHA-256 of `ID.TIMESTAMP.BODY`. `X-Millrace-Signature-256: sha256=HEX` is
 * the HMAC of the body alone, in the form that receivers of GitHub's and OpenFaaS's events check.
 * Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */
export function createCallbackSender(options: CallbackSenderOptions): CallbackSender {
  const { clock, timeoutMs } = options;
  const guard = new CallbackGuard(options.allow, options.lookup);
  const key = options.secret === undefined ? undefined : keyOf(options.secret);
  let agent: Agent | undefined;

  return { check, send, close: async () => agent?.destroy() };

  async function check(text: string): Promise<void> {
    const url = guard.checkUrl(text);
    if (literalOf(url.hostname) !== undefined) return; // Checked as an address already.
    const { promise: tooLate, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, acceptLookupMs);
    try {
      await Promise.race([guard.resolve(url.hostname), tooLate]);
    } catch (error) {
      // A name that cannot be resolved now may be when the callback is due, and is checked again then.
      if (error instanceof MillraceError) throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  async function send(call: CallbackCall): Promise<Outcome> {
    const startedAt = clock.monotonic();
    const deadline = AbortSignal.timeout(timeoutMs);
    const took = (): number => clock.monotonic() - startedAt;
    try {
      const url = guard.checkUrl(call.url);
      url.hash = '';
      // Not before the first callback: it is a tenth of the time that a gateway takes to start.
      const { Agent, request } = await import('undici');
      agent ??= new Agent(agentOptions(guard, timeoutMs));
      const answer = await request(url, {
        dispatcher: agent,
        method: 'POST',
        headers: requestHeaders(call),
        body: call.body,
        signal: AbortSignal.any([deadline, call.signal]),
      });
      return answered(answer, await readSome(answer.body), took());
    } catch (error) {
      if (call.signal.aborted)
        return failed('cancelled', { code: 'invocation.cancelled', message: 'the callback was cancelled' }, took());
      if (deadline.aborted) {
        return failed(
          'timeout',
          { code: 'function.timeout', message: `no answer to the callback within ${timeoutMs} ms` },
          took(),
        );
      }
      const refusal = refusalIn(error);
      if (refusal) return failed('refused', refusal, took());
      return failed('connection', { code: 'function.unreachable', message: `callback: ${messageOf(error)}` }, took());
    }
  }

  /** A flat list: a header named `__proto__` is one like any other. */
  function requestHeaders(call: CallbackCall): string[] {
    const list = ['user-agent', options.userAgent];
    for (const [name, value] of Object.entries(forwardable(call.headers))) {
      for (const text of typeof value === 'string' ? [value] : value) list.push(name, text);
    }
    if (key === undefined) return list;
    const id = call.id ?? textOf(call.headers['x-invocation-id']) ?? textOf(call.headers['x-call-id']) ?? '';
    const timestamp = String(Math.floor(clock.now() / 1000));
    const signature = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(call.body).digest('base64');
    const bodySignature = createHmac('sha256', key).update(call.body).digest('hex');
    list.push('webhook-id', id, 'webhook-timestamp', timestamp, 'webhook-signature', `v1,${signature}`);
    list.push('x-millrace-signature-256', `sha256=${bodySignature}`);
    return list;
  }
}

/**
 * The headers of a callback: those of the function's answer that are the receiver's business, and what OpenFaaS tells
 * about the invocation. `attempts`: how many the policy allows.
 */
export function callbackHeaders(invocation: Invocation, outcome: Outcome, attempts: number): Headers {
  return {
    ...forwardable(outcome.headers),
    ...traceContextOf(invocation.headers),
    'x-call-id': invocation.callId,
    'x-invocation-id': invocation.id,
    'x-function-name': invocation.function,
    'x-function-status': String(outcome.status),
    'x-duration-seconds': (outcome.durationMs / 1000).toFixed(6),
    'x-retry': String(invocation.attempt - 1),
    'x-retry-max': String(attempts - 1),
    'x-call-depth': String(invocation.depth + 1),
  };
}

/** What of the headers may go to a receiver; also without those that cannot be written on the wire. */
function forwardable(headers: Headers): Headers {
  const nominated = new Set((textOf(headers['connection']) ?? '').split(',').map((name) => name.trim().toLowerCase()));
  return Object.fromEntries(
    Object.entries(headers).filter(([name, value]) => {
      const key = name.toLowerCase();
      if (withheld.has(key) || nominated.has(key) || !/^[\w!#$%&'*+.^`|~-]+$/.test(name)) return false;
      return (typeof value === 'string' ? [value] : value).every((text) => /^[\t\x20-\x7e\x80-\xff]*$/.test(text));
    }),
  );
}

function agentOptions(guard: CallbackGuard, timeoutMs: number): Agent.Options {
  return {
    allowH2: false,
    connect: { lookup: guardedLookup(guard), timeout: timeoutMs },
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    keepAliveTimeout: 5000,
    keepAliveMaxTimeout: 10_000,
    connections: 16,
    pipelining: 1,
  };
}

function guardedLookup(guard: CallbackGuard): LookupFunction {
  const answer = async (...[hostname, lookupOptions, callback]: Parameters<LookupFunction>): Promise<void> => {
    const found = await guard.resolve(hostname).catch((error: unknown) => error);
    const [first] = Array.isArray(found) ? (found as ResolvedAddress[]) : [];
    if (!first) callback(found instanceof Error ? found : new Error(`${hostname} has no address`), '');
    else if (lookupOptions.all) callback(null, found as ResolvedAddress[]);
    else callback(null, first.address, first.family);
  };
  return (...call) => void answer(...call);
}

/** At most 64 KiB, then the connection is cut. The status counts even if the body does not end well or in time. */
async function readSome(body: Dispatcher.ResponseData['body']): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const chunk of body as AsyncIterable<Uint8Array>) {
      chunks.push(chunk.subarray(0, maxAnswerBytes - bytes));
      bytes += chunk.length;
      if (bytes >= maxAnswerBytes) break; // Leaving the loop destroys the stream and its connection.
    }
  } catch {
    // The receiver has said by its status whether it took the callback: sending it again would be a duplicate.
  }
  return Buffer.concat(chunks);
}

function answered(answer: Dispatcher.ResponseData, body: Uint8Array, durationMs: number): Outcome {
  const status = answer.statusCode;
  const headers = Object.fromEntries(
    Object.entries(answer.headers).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
  const whole = { status, headers, body, durationMs };
  if (status === 410) {
    return { ...whole, failure: 'refused', error: refusal('the receiver answered 410: it wants no more callbacks') };
  }
  if (status >= 300 && status < 400) {
    return { ...whole, failure: 'refused', error: refusal(`the receiver answered ${status}: no redirect is followed`) };
  }
  return { ...whole, failure: undefined, error: undefined };
}

function refusal(message: string): { code: ErrorCode; message: string } {
  return { code: 'callback.refused', message };
}

/** The guard's refusal, which undici and net may have wrapped. */
function refusalIn(error: unknown): MillraceError | undefined {
  let cause = error;
  for (let depth = 0; depth < 5 && cause instanceof Error; depth++) {
    if (cause instanceof MillraceError) return cause;
    cause = cause.cause;
  }
  return undefined;
}

function textOf(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'string' || value === undefined ? value : value[0];
}

function keyOf(secret: string): Buffer {
  const prefix = 'whsec_';
  return secret.startsWith(prefix) ? Buffer.from(secret.slice(prefix.length), 'base64') : Buffer.from(secret);
}
