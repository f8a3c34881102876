import type { Logger } from 'pino';
import { type Clock, within } from '../../../core/contracts/clock.ts';
import type { PluginMetrics } from '../../../core/contracts/definition.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { WorkQueueStats } from '../../../core/contracts/provider.ts';
import { TokenBucket } from './token-bucket.ts';

export interface WorkQueueSettings {
  /** Keys that are worked on at once. */
  readonly workers: number;
  /** Pieces of work begun in a second, in the long run; `burst` of them at once. */
  readonly perSecond: number;
  readonly burst: number;
  /** How long a key that has failed waits, ms: the first time, and at most; doubled each time in a row. */
  readonly backoff: { readonly first: number; readonly most: number };
}

export const standardWorkQueue: WorkQueueSettings = {
  workers: 8,
  perSecond: 20,
  burst: 100,
  backoff: { first: 100, most: 300_000 },
};

/** What is to be done about one key. It is known here from the first word until nothing is left to do. */
interface Item {
  readonly key: string;
  /** `later`: it has failed, and waits for its next try. */
  state: 'new' | 'waiting' | 'running' | 'later';
  /** Monotonic ms: since when it waits. */
  since: number;
  /** It is to be looked at. */
  isDirty: boolean;
  /** What somebody waits for, in the order in which it came. */
  readonly tasks: Task[];
  /** In a row. */
  failures: number;
  timer: NodeJS.Timeout | undefined;
}

interface Task {
  /** Never rejects: whoever asked for it is told. */
  run(): Promise<void>;
  refuse(): void;
}

/** How often the age of the oldest is told while there is one, ms. */
const tellMs = 5000;

/**
 * Work on keys, as controllers of Kubernetes have it (`workqueue` of client-go): a key is there once however often it is
 * added, one worker at a time is at it, and it is looked at again when it was added meanwhile; one that fails comes again,
 * later each time. Whoever wants something done to a key, and to know what came of it, waits in the same line (`perform`).
 */
export class WorkQueue {
  readonly #name: string;
  readonly #work: (key: string) => Promise<void>;
  readonly #settings: WorkQueueSettings;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #items = new Map<string, Item>();
  /** Those of state `waiting`, in their order. */
  readonly #line: Item[] = [];
  readonly #bucket: TokenBucket;
  readonly #depth: { set(value: number): void };
  readonly #oldest: { set(value: number): void };
  readonly #retries: { inc(): void };
  #running = 0;
  #isStopping = false;
  #refill: NodeJS.Timeout | undefined;
  #telling: NodeJS.Timeout | undefined;
  #idle: PromiseWithResolvers<void> | undefined;

  /** `work` makes of a key what it is to be, whatever has become of it; it rejects to be called again. */
  constructor(
    name: string,
    work: (key: string) => Promise<void>,
    settings: WorkQueueSettings,
    host: { readonly clock: Clock; readonly logger: Logger; readonly metrics: PluginMetrics },
  ) {
    this.#name = name;
    this.#work = work;
    this.#settings = settings;
    this.#clock = host.clock;
    this.#logger = host.logger;
    this.#bucket = new TokenBucket(settings, host.clock);
    this.#depth = host.metrics.gauge(`${name}_work_waiting`, 'Keys that wait to be worked on, or for another try.');
    this.#oldest = host.metrics.gauge(`${name}_work_oldest_seconds`, 'How long the oldest of them has waited.');
    this.#retries = host.metrics.counter(`${name}_work_retries_total`, 'Work that failed and comes again.');
  }

  get stats(): WorkQueueStats {
    let oldest = this.#clock.monotonic();
    const now = oldest;
    for (const { state, since } of this.#items.values()) if (state !== 'running') oldest = Math.min(oldest, since);
    const running = this.#running;
    return { name: this.#name, waiting: this.#items.size - running, running, oldestAgeMs: now - oldest };
  }

  /** It is to be looked at: now, or once whoever is at it has ended. One that waits for its next try has it now. */
  add(key: string): void {
    if (this.#isStopping) return;
    const item = this.#item(key);
    item.isDirty = true;
    this.#enter(item);
  }

  /** Runs `task` while nobody else is at that key, and gives what comes of it. It is not tried again here. */
  perform<Result>(key: string, task: () => Promise<Result>): Promise<Result> {
    const { promise, resolve, reject } = Promise.withResolvers<Result>();
    const refuse = (): void => reject(new MillraceError('gateway.stopping', 'the gateway is stopping'));
    if (this.#isStopping) refuse();
    else {
      const item = this.#item(key);
      item.tasks.push({ run: () => task().then(resolve, reject), refuse });
      this.#enter(item);
    }
    return promise;
  }

  /** Begins nothing more; resolves once what is under way has ended, after the deadline at the latest. */
  async stop(deadlineMs: number): Promise<void> {
    this.#isStopping = true;
    clearTimeout(this.#refill);
    clearInterval(this.#telling);
    for (const { timer, tasks } of this.#items.values()) {
      clearTimeout(timer);
      for (const task of tasks.splice(0)) task.refuse();
    }
    this.#line.length = 0;
    if (this.#running === 0) return;
    this.#idle = Promise.withResolvers<void>();
    await within(this.#idle.promise, deadlineMs);
  }

  #item(key: string): Item {
    const known = this.#items.get(key);
    if (known) return known;
    const since = this.#clock.monotonic();
    const item: Item = { key, state: 'new', since, isDirty: false, tasks: [], failures: 0, timer: undefined };
    this.#items.set(key, item);
    this.#telling ??= setInterval(() => this.#tell(), tellMs).unref();
    return item;
  }

  #enter(item: Item): void {
    if (item.state === 'running' || item.state === 'waiting') return;
    clearTimeout(item.timer);
    item.state = 'waiting';
    this.#line.push(item);
    this.#begin();
  }

  /** As many of the line as workers and the rate allow. */
  #begin(): void {
    this.#depth.set(this.#items.size - this.#running);
    while (this.#line.length > 0 && this.#running < this.#settings.workers && !this.#isStopping) {
      const waitMs = this.#bucket.take();
      if (waitMs > 0) {
        clearTimeout(this.#refill);
        this.#refill = setTimeout(() => this.#begin(), waitMs);
        return;
      }
      const item = this.#line.shift();
      if (item) void this.#run(item);
    }
  }

  async #run(item: Item): Promise<void> {
    item.state = 'running';
    this.#running++;
    const task = item.tasks.shift();
    if (task) await task.run();
    else await this.#lookAt(item);
    this.#running--;
    this.#ended(item);
  }

  async #lookAt(item: Item): Promise<void> {
    item.isDirty = false;
    try {
      await this.#work(item.key);
      item.failures = 0;
    } catch (error) {
      item.failures++;
      this.#retries.inc();
      this.#logger.warn({ key: item.key, failures: item.failures, reason: messageOf(error) }, `${this.#name}: failed`);
    }
  }

  #ended(item: Item): void {
    item.since = this.#clock.monotonic();
    item.state = 'new';
    if (this.#isStopping) {
      for (const task of item.tasks.splice(0)) task.refuse();
      if (this.#running === 0) this.#idle?.resolve();
      return;
    }
    if (item.tasks.length > 0 || item.isDirty) this.#enter(item);
    else if (item.failures > 0) this.#putOff(item);
    else this.#forget(item);
    this.#begin();
  }

  #putOff(item: Item): void {
    const { first, most } = this.#settings.backoff;
    item.state = 'later';
    item.isDirty = true;
    item.timer = setTimeout(() => this.#enter(item), Math.min(most, first * 2 ** (item.failures - 1)));
  }

  #forget({ key }: Item): void {
    this.#items.delete(key);
    if (this.#items.size > 0) return;
    clearInterval(this.#telling);
    this.#telling = undefined;
    this.#tell();
  }

  #tell(): void {
    this.#oldest.set(this.stats.oldestAgeMs / 1000);
  }
}
