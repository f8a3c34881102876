// @ts-check
/** @import { QueueRow } from './figures.js' */

/** What is charted of a queue, or of a level. @typedef {{ at: number, depth: number, age: number, inFlight: number }} Point */

/** ms */
export const keptMs = 300_000;

/** The last five minutes of each level, and of each queue that held anything in them. */
export class History {
  /** @type {Map<string, Point[]>} */
  #points = new Map();

  /**
   * @param {number} at
   * @param {ReadonlyMap<string, QueueRow>} queues
   */
  add(at, queues) {
    const now = new Map(['gateway', 'function', 'provider'].map((level) => [level, emptyAt(at)]));
    for (const [key, row] of queues) {
      const point = pointOf(at, row);
      const total = now.get(row.level);
      if (total) {
        total.depth += point.depth;
        total.inFlight += point.inFlight;
        total.age = Math.max(total.age, point.age);
      }
      if (this.#points.has(key) || point.depth + point.inFlight > 0) now.set(key, point);
    }
    for (const key of this.#points.keys()) if (!now.has(key)) now.set(key, emptyAt(at));
    for (const [key, point] of now) this.#push(key, point);
  }

  /**
   * Oldest first.
   *
   * @param {string} key a level, or what `keyOf` says
   * @returns {readonly Point[]}
   */
  of(key) {
    return this.#points.get(key) ?? [];
  }

  /**
   * @param {string} key
   * @param {Point} point
   */
  #push(key, point) {
    const points = (this.#points.get(key) ?? []).filter(({ at }) => at > point.at - keptMs);
    points.push(point);
    this.#points.set(key, points);
    const isLevel = !key.includes('/');
    if (!isLevel && points.every(({ depth, inFlight }) => depth + inFlight === 0)) this.#points.delete(key);
  }
}

/**
 * @param {number} at
 * @returns {Point}
 */
function emptyAt(at) {
  return { at, depth: 0, age: 0, inFlight: 0 };
}

/**
 * @param {number} at
 * @param {QueueRow} row
 * @returns {Point}
 */
function pointOf(at, { ready, blocked, delayed, leased, oldestAgeSeconds }) {
  return { at, depth: ready + blocked + delayed, age: oldestAgeSeconds, inFlight: leased };
}
