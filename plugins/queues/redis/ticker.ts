import type { Logger } from 'pino';
import type { RedisScript } from '../../connections/redis/connection.ts';
import type { Server } from './server.ts';
import type { Waiting } from './waiting.ts';

export interface TickerOptions {
  readonly server: Server;
  readonly script: RedisScript;
  readonly waiting: Waiting;
  readonly watching: Waiting;
  readonly logger: Logger;
  readonly letters: (count: number) => void;
  /** More than this are worth a warning. */
  readonly maxLetters: number;
}

/** While somebody waits: hints may get lost, so nobody depends on them for longer than this. */
const busyMs = 500;
/** While nobody does: what is due must be done by somebody. */
const idleMs = 5000;
/** Ids that are asked after in one round. */
const maxWatched = 500;

/** Lets happen what time brings (delays, leases that run out, letters that get old), and wakes those whom it concerns. */
export class Ticker {
  readonly #options: TickerOptions;
  #timer: NodeJS.Timeout | undefined;
  #nextAt = Infinity;
  /** The earliest time that was asked for since the last one began. */
  #wantedAt = Infinity;
  #running = false;
  #stopped = false;
  #warned = false;

  constructor(options: TickerOptions) {
    this.#options = options;
  }

  start(): void {
    this.#arm(busyMs);
  }

  /** Something is due so soon; without a time, somebody has begun to wait. */
  hurry(withinMs = busyMs): void {
    const at = performance.now() + withinMs;
    this.#wantedAt = Math.min(this.#wantedAt, at);
    if (!this.#running && at < this.#nextAt) this.#arm(withinMs);
  }

  /** Resolves with the time after which the next one is due, ms. */
  async tick(): Promise<number> {
    const { server, script, waiting, watching, letters } = this.#options;
    const lanes = waiting.names;
    const watched = watching.names.slice(0, maxWatched);
    const [nextMs, woken, ended, count] = (await server.run(script, [String(lanes.length), ...lanes, ...watched])) as [
      number,
      Buffer[],
      Buffer[],
      number,
    ];
    for (const lane of woken) waiting.wake(lane.toString());
    for (const id of ended) watching.wake(id.toString());
    letters(count);
    this.#watchLetters(count);
    const longestMs = waiting.size + watching.size > 0 ? busyMs : idleMs;
    return nextMs < 0 ? longestMs : Math.min(longestMs, Math.max(1, nextMs));
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #arm(ms: number): void {
    clearTimeout(this.#timer);
    if (this.#stopped) return;
    this.#nextAt = performance.now() + ms;
    this.#timer = setTimeout(() => void this.#run(), ms).unref();
  }

  async #run(): Promise<void> {
    this.#running = true;
    this.#wantedAt = Infinity;
    let nextMs = busyMs;
    try {
      nextMs = await this.tick();
    } catch (error) {
      // The connection tells that it is lost; whoever waits is told by his own call.
      this.#options.logger.debug({ err: error }, 'the queue could not be looked after; trying again');
    }
    this.#running = false;
    // Nothing is due so exactly that two gateways must do it in the same millisecond.
    this.#arm(Math.min(nextMs, Math.max(1, this.#wantedAt - performance.now())) + Math.random() * 5);
  }

  #watchLetters(count: number): void {
    const { logger, maxLetters } = this.#options;
    if (count > maxLetters && !this.#warned) {
      this.#warned = true;
      logger.warn({ deadLetters: count, maxMessages: maxLetters }, 'more dead letters are kept than maxMessages says');
    } else if (count <= maxLetters) {
      this.#warned = false;
    }
  }
}
