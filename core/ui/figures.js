// @ts-check
import { ask, serverSent } from './api.js';
import { messageOf } from './dom.js';
import { History } from './history.js';

/**
 * @typedef {{ running: number, ended: number, failed: number, seconds: number, buckets: number[] }} Attempts
 * @typedef {{ name: string, state: string, message?: string, provider: string, replicas: number, availableReplicas: number,
 *   attempts?: Attempts }} FunctionRow
 * @typedef {{ level: 'gateway' | 'function' | 'provider', name: string, queue?: string, provider?: string, ready: number,
 *   blocked: number, delayed: number, leased: number, dead: number, oldestAgeSeconds: number, paused: boolean,
 *   durability: string }} QueueRow
 * @typedef {{ name: string, kind: string, state: string, inFlight: number, credit: number, lag?: number,
 *   lastError?: string, reconnects: number, settled: number }} ConnectorRow
 * @typedef {{ perSecond: number, failedPart: number, mean: number, p95: number }} Pace of the last seconds; times in s
 */

/** Over how long calls a second, errors and times are taken, ms. */
const windowMs = 10_000;
const retryMs = 2000;
/** @type {Attempts} */
const none = { running: 0, ended: 0, failed: 0, seconds: 0, buckets: [] };

/** @type {Map<string, FunctionRow>} */
export const functions = new Map();
/** By level, queue or provider, and name. @type {Map<string, QueueRow>} */
export const queues = new Map();
/** @type {Map<string, ConnectorRow>} */
export const connectors = new Map();
/** Of each level, and of each queue that holds anything. */
export const history = new History();

/** Oldest first. @type {Map<string, { at: number, attempts: Attempts }[]>} */
const samples = new Map();
/** @type {Set<(hasNews: boolean) => void>} */
const listeners = new Set();
/** @type {readonly number[]} */
let bounds = [];
let now = 0;

/**
 * Calls it with everything that is told, until the signal aborts. `hasNews`: something is not as it was.
 *
 * @param {AbortSignal} signal
 * @param {(hasNews: boolean) => void} listener
 */
export function onFigures(signal, listener) {
  listeners.add(listener);
  signal.addEventListener('abort', () => listeners.delete(listener));
}

/**
 * Follows the gateway for as long as the page is there; tells in words how that goes.
 *
 * @param {(words: string, isLive: boolean) => void} tell
 */
export async function followFigures(tell) {
  for (;;) {
    try {
      const answer = await ask('/system/figures', { accept: 'text/event-stream' });
      for (const known of [functions, queues, connectors, samples]) known.clear();
      for await (const news of serverSent(answer)) {
        take(news);
        tell(news.problem ?? 'Live', news.problem === undefined);
      }
      tell('The gateway has gone; looking for it…', false);
    } catch (error) {
      tell(`Not live: ${messageOf(error)}`, false);
    }
    await new Promise((resolve) => setTimeout(resolve, retryMs));
  }
}

/** @param {any} news */
function take(news) {
  now = Date.parse(news.at);
  bounds = news.bounds ?? bounds;
  merge(functions, news.functions, (/** @type {FunctionRow} */ { name }) => name);
  merge(queues, news.queues, keyOf);
  merge(connectors, news.connectors, (/** @type {ConnectorRow} */ { name }) => name);
  for (const { name, attempts } of news.functions.changed) sample(name, attempts ?? none);
  for (const name of news.functions.gone) samples.delete(name);
  history.add(now, queues);
  const hasNews = [news.functions, news.queues, news.connectors].some(
    ({ changed, gone }) => changed.length + gone.length > 0,
  );
  for (const listener of listeners) listener(hasNews);
}

/**
 * @template Row
 * @param {Map<string, Row>} known
 * @param {{ changed: Row[], gone: string[] }} news
 * @param {(row: Row) => string} keyOf
 */
function merge(known, { changed, gone }, keyOf) {
  for (const row of changed) known.set(keyOf(row), row);
  for (const key of gone) known.delete(key);
}

/** @param {QueueRow} row */
export function keyOf({ level, name, queue, provider }) {
  return [level, queue ?? provider ?? '', name].join('/');
}

/**
 * @param {string} name
 * @param {Attempts} attempts
 */
function sample(name, attempts) {
  const known = samples.get(name) ?? [];
  // The last one before the window is where it begins.
  while (known.length > 1 && (known[1]?.at ?? now) <= now - windowMs) known.shift();
  known.push({ at: now, attempts });
  samples.set(name, known);
}

/**
 * How a function has fared within the last seconds; undefined where it had no calls.
 *
 * @param {string} name
 * @returns {Pace | undefined}
 */
export function paceOf(name) {
  const known = samples.get(name) ?? [];
  const last = known.at(-1);
  const first = known.findLast(({ at }) => at <= now - windowMs) ?? known[0];
  if (!first || !last || last === first) return undefined;
  const [before, after] = [first.attempts, last.attempts];
  const ended = after.ended - before.ended;
  if (ended <= 0) return undefined; // Or the gateway began anew.
  const since = Math.max(first.at, now - windowMs);
  return {
    perSecond: (1000 * ended) / Math.max(1, now - since),
    failedPart: (after.failed - before.failed) / ended,
    mean: (after.seconds - before.seconds) / ended,
    p95: quantile(
      after.buckets.map((count, index) => count - (before.buckets[index] ?? 0)),
      0.95,
    ),
  };
}

/**
 * The upper bound of the bucket where it lies, s; Infinity beyond the last one.
 *
 * @param {readonly number[]} buckets
 * @param {number} part
 */
function quantile(buckets, part) {
  const wanted = part * buckets.reduce((sum, count) => sum + count, 0);
  let below = 0;
  const index = buckets.findIndex((count) => (below += count) >= wanted);
  return bounds[index] ?? Infinity;
}
