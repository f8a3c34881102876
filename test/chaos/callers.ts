import { createHash, randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Agent, type Dispatcher, request } from 'undici';
import type { AcceptedCall } from './checker.ts';

/** A caller that has had no answer for so long takes the gateway for hung. */
const hungMs = 25_000;
const pauseAfterFailureMs = 30;
const callers = 32;
const keys = 40;

/** How often each function is called; a crash costs a new thread for every attempt, so there are few. */
const shareOf = { ok: 0.5, 'fail-once': 0.15, 'fail-always': 0.13, crash: 0.02, keyed: 0.2 } as const;
type Called = keyof typeof shareOf;

export interface Answer {
  readonly status: number;
  readonly headers: Dispatcher.ResponseData['headers'];
}

/** One function for all calls, with a callback. */
export interface OneFunction {
  readonly name: string;
  readonly callbackUrl: string;
}

/** Those who call the gateways, and the ledger of what they were told. */
export class Callers {
  readonly accepted: AcceptedCall[] = [];
  readonly unknown = new Set<string>();
  /** Answers that no caller should have got. */
  readonly complaints: string[] = [];
  /**
   * The power is being cut: nobody would hear what is said from now on, so that it stays unknown. For an fsync that is under way
   * at that moment, ext4 may say that all is well.
   */
  isDark = false;
  readonly #random: () => number;
  readonly #gateways: () => readonly string[];
  readonly #only: OneFunction | undefined;
  readonly #orders = new Map<string, number>();
  readonly #agent = new Agent({ connections: callers, pipelining: 1, headersTimeout: hungMs, bodyTimeout: hungMs });

  /** `gateways` tells where those are that serve now; `only`: that function is called, instead of all by their share. */
  constructor(random: () => number, gateways: () => readonly string[], only?: OneFunction) {
    this.#random = random;
    this.#gateways = gateways;
    this.#only = only;
  }

  /**
   * All of them call, one call after another each, any gateway at random, until so many have been accepted in all or the
   * signal aborts. Between two calls of one there are about `paceMs`.
   */
  async load(goal: number, paceMs: number, signal: AbortSignal): Promise<void> {
    const one = async (caller: number): Promise<void> => {
      while (this.accepted.length < goal && !signal.aborted) {
        const urls = this.#gateways();
        const url = urls[Math.floor(this.#random() * urls.length)];
        const taken = url !== undefined && (await this.#call(url, caller));
        const pauseMs = taken ? this.#random() * 2 * paceMs : pauseAfterFailureMs;
        if (pauseMs > 0) await delay(pauseMs, undefined, { signal }).catch(() => undefined);
      }
    };
    await Promise.all(Array.from({ length: callers }, (_, caller) => one(caller)));
  }

  /** One call of that function; `undefined` when there was no answer. What it was told is in the ledgers. */
  async send(url: string, name: string, key?: string): Promise<(Answer & { readonly id: string }) | undefined> {
    const number = key === undefined ? 0 : (this.#orders.get(key) ?? 0) + 1;
    if (key !== undefined) this.#orders.set(key, number);
    const callId = randomBytes(8).toString('hex');
    const body = randomBytes(16 + Math.floor(this.#random() * 500));
    const priority = String(Math.floor(this.#random() * 10));
    const sentAt = performance.now();
    // Until it is answered it may have been accepted.
    this.unknown.add(callId);
    try {
      const {
        statusCode: status,
        headers,
        body: answer,
      } = await request(`${url}/async-function/${name}`, {
        method: 'POST',
        headers: {
          'x-call-id': callId,
          'x-priority': priority,
          ...(key !== undefined && { 'x-order-key': key }),
          ...(this.#only && { 'x-callback-url': this.#only.callbackUrl }),
        },
        body,
        dispatcher: this.#agent,
      });
      const text = await answer.text();
      const id = String(headers['x-invocation-id']);
      if (status === 202 && this.isDark) return undefined;
      if (status === 202) {
        this.unknown.delete(callId);
        const sha = createHash('sha256').update(body).digest('hex');
        const order = key === undefined ? undefined : { key, number };
        this.accepted.push({ callId, id, function: name, body: sha, order });
      } else if (status !== 503 && status !== 507) {
        this.complaints.push(`${name} was answered with ${status} ${text.slice(0, 200)}`);
      } else if (headers['retry-after'] === undefined) {
        this.complaints.push(`${name} was answered with ${status} without Retry-After: ${text.slice(0, 200)}`);
      }
      return { status, headers, id };
    } catch (error) {
      if (performance.now() - sentAt > hungMs) this.complaints.push(`${name} had no answer after ${hungMs} ms`);
      else if (!isGone(error)) throw error;
      return undefined;
    }
  }

  /** Resolves when another call has been accepted. */
  async working(): Promise<void> {
    const before = this.accepted.length;
    const giveUpAt = performance.now() + 20_000;
    while (this.accepted.length === before && performance.now() < giveUpAt) await delay(5);
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  async #call(url: string, caller: number): Promise<boolean> {
    const name = this.#only?.name ?? pickFunction(this.#random());
    // Only one caller uses a key: the order of acceptance is then known.
    const key = name === 'keyed' ? `k${caller + callers * Math.floor((this.#random() * keys) / callers)}` : undefined;
    return (await this.send(url, name, key))?.status === 202;
  }
}

/** The gateway died, or was not there. */
function isGone(error: unknown): boolean {
  const { code = '', cause } = error as { code?: string; cause?: unknown };
  return (
    /^(UND_ERR_SOCKET|ECONN|EPIPE|UND_ERR_CLOSED|UND_ERR_DESTROYED)/.test(code) ||
    (cause !== undefined && isGone(cause))
  );
}

function pickFunction(draw: number): Called {
  let left = draw;
  for (const [name, share] of Object.entries(shareOf)) {
    left -= share;
    if (left < 0) return name as Called;
  }
  return 'ok';
}
