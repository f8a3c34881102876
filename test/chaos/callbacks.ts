import { createHmac } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { bodyOf, serve } from '../support/http-functions.ts';
import { Callers } from './callers.ts';
import { configuration } from './configuration.ts';
import { Fleet } from './fleet.ts';
import { sqlite } from './queues.ts';
import { seeded } from './random.ts';

const secret = 'a secret of the sink';
/** The policy of callbacks. */
export const attempts = 5;
/** Answers that the sink refuses at most: with the kills of a wave fewer than the attempts there are. */
const mostRefusals = 2;

/** Between two calls of each caller, on average. */
const paceMs = 100;

export interface CallbackPlan {
  readonly seed: number;
  readonly waves: number;
  /** Invocations of a wave, and how often the gateway is killed in it: twice at most. */
  readonly calls: number;
  readonly kills: number;
  /** Of callbacks, to plant a sender that gives up. */
  readonly attempts?: number;
}

export interface CallbackHistory {
  readonly accepted: number;
  readonly kills: number;
  /** Call ids whose callback the sink has never taken. */
  readonly missing: readonly string[];
  /** Call ids that came more often than the policy allows. */
  readonly tooMany: readonly string[];
  /** Callbacks that came again after they had been taken. */
  readonly repeated: number;
  /** Requests that were not signed as they must be, or not of a call. */
  readonly forged: number;
}

/** A receiver that refuses the first few times, by an error, a full house or a broken connection, as the seed has it. */
class Sink {
  readonly taken = new Map<string, number>();
  readonly seen = new Map<string, number>();
  forged = 0;
  readonly #random: () => number;
  readonly #refusals = new Map<string, number>();

  constructor(random: () => number) {
    this.#random = random;
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await bodyOf(request);
    const id = String(request.headers['x-call-id']);
    if (!isSigned(request, body)) this.forged++;
    this.seen.set(id, (this.seen.get(id) ?? 0) + 1);
    const left = this.#refusals.get(id) ?? Math.floor(this.#random() * (mostRefusals + 1));
    this.#refusals.set(id, left - 1);
    if (left > 0) return this.#refuse(response);
    this.taken.set(id, (this.taken.get(id) ?? 0) + 1);
    response.end();
  }

  #refuse(response: ServerResponse): void {
    const draw = this.#random();
    if (draw < 0.3) response.destroy();
    else response.writeHead(draw < 0.6 ? 500 : 503).end('not now');
  }
}

/** By the rules of Standard Webhooks, over the bytes that came. */
function isSigned({ headers }: IncomingMessage, body: Buffer): boolean {
  const signed = `${String(headers['webhook-id'])}.${String(headers['webhook-timestamp'])}.`;
  const expected = createHmac('sha256', secret).update(signed).update(body).digest('base64');
  return headers['webhook-signature'] === `v1,${expected}`;
}

/** Has invocations called back while their gateway is killed, lets the rest arrive, and says what came. */
export async function callbackRun({
  seed,
  waves,
  calls,
  kills,
  attempts: tries = attempts,
}: CallbackPlan): Promise<CallbackHistory> {
  const random = seeded(seed);
  const sink = new Sink(seeded(seed + 1));
  const home = mkdtempSync(join(tmpdir(), 'millrace-callbacks-'));
  const config = join(home, 'millrace.yaml');
  await using server = await serve((request, response) => sink.answer(request, response));
  const ledger = join(home, 'executions.jsonl');
  const backoff = '{ kind: fixed, initial: 30ms, jitter: none }';
  const callbacks = `callbacks: { allow: [127.0.0.1], secret: "${secret}", retry: { attempts: ${tries}, backoff: ${backoff} } }`;
  const functions = [{ name: 'ok', inline: true, concurrency: 8, attempts: 60 }];
  writeFileSync(
    config,
    configuration(sqlite.yaml(''), functions, ledger).replace('gateway:', `gateway:\n  ${callbacks}`),
  );
  const fleet = new Fleet(config, {}, 1);
  const callers = new Callers(seeded(seed + 2), () => fleet.urls, { name: 'ok', callbackUrl: `${server.url}/` });
  try {
    for (let wave = 1; wave <= waves; wave++) {
      const over = new AbortController();
      const loading = callers.load(Infinity, paceMs, over.signal);
      for (let kill = 0; kill < kills; kill++) {
        await fleet.fill();
        await callers.working();
        await delay(random() * 400);
        await fleet.kill(0);
      }
      over.abort();
      await loading;
      await fleet.fill();
      await callers.load(wave * calls, 0, new AbortController().signal);
      await quiet(fleet);
    }
    const ids = callers.accepted.map(({ callId }) => callId);
    return {
      accepted: ids.length,
      kills: fleet.kills,
      missing: ids.filter((id) => !sink.taken.has(id)),
      tooMany: ids.filter((id) => (sink.seen.get(id) ?? 0) > tries),
      repeated: [...sink.taken.values()].reduce((sum, times) => sum + times - 1, 0),
      forged: sink.forged,
    };
  } finally {
    await callers.close();
    await fleet.dispose();
    rmSync(home, { recursive: true, force: true });
  }
}

/** Until no lane has anything left to do. */
async function quiet(fleet: Fleet): Promise<void> {
  const [gateway] = fleet.gateways;
  for (;;) {
    const rows = (await (await fetch(`${gateway?.url}/system/queues`)).json()) as Readonly<Record<string, number>>[];
    if (rows.every((row) => row['ready'] === 0 && row['delayed'] === 0 && row['leased'] === 0)) return;
    await delay(20);
  }
}
