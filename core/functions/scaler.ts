import type { Logger } from 'pino';
import { type Clock, sleep } from '../contracts/clock.ts';
import { MillraceError, missingFunction } from '../contracts/errors.ts';
import type { ScalePolicy } from '../contracts/policy.ts';
import type { Queue } from '../contracts/queue.ts';
import type { Catalog, CatalogEntry } from './catalog.ts';

/** How often load is looked at, ms. */
const tickMs = 1000;
/** Over how long calls a second and CPU are averaged, ms: one burst is no load. */
const averageMs = 5000;
/** How often a cold function that could not be scaled is asked again, and after how long at first, ms. */
const wakeAttempts = 20;
const wakeRetryMs = 100;
const maxWakeRetryMs = 5000;

/** Where nothing is said of it (docs.openfaas.com: at most 20 replicas). */
const standardScale: Pick<ScalePolicy, 'min' | 'max' | 'factor'> = { min: 1, max: 20, factor: 20 };

export interface ScalerParts {
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly queues: ReadonlyMap<string, Queue>;
  /** Attempts that were begun since the start. */
  startedCount(name: string): number;
}

/** What is known of the load of one function. */
export interface Load {
  /** Calls that run or wait in the gateway. */
  readonly inFlight: number;
  /** Messages of its lane that may run now, or are being run; undefined where nobody asked for it yet. */
  readonly queued: number | undefined;
  readonly perSecond: number;
  /** Thousandths of a core. */
  readonly cpu: number;
}

interface Sample {
  readonly at: number;
  readonly started: number;
  readonly cpuMs: number;
}

interface Tracked {
  samples: Sample[];
  /** How many replicas were wanted when, within the policy's window. */
  wanted: { readonly at: number; readonly replicas: number }[];
  busyAt: number;
  queued: number | undefined;
  isScaling: boolean;
}

/**
 * Has functions run with as many replicas as their load wants, by what the gateway itself sees: no other program
 * measures, and none is asked. From zero by the first call, up at once, down to the most that was wanted within a window, and to zero
 * only while nothing of it runs, waits or is queued. What somebody else scales (`scaledBy`) is woken from zero, and else left alone.
 */
export class Scaler {
  readonly #parts: ScalerParts;
  readonly #tracked = new Map<string, Tracked>();
  /** Cold functions that have been asked to scale. */
  readonly #waking = new Map<string, Promise<void>>();
  readonly #stopped = new AbortController();
  #running: Promise<void> | undefined;

  constructor(parts: ScalerParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#running;
  }

  /** Asks for the first replicas of a cold function, once for all who wait for it. Never rejects: they wait for its state. */
  wake(entry: CatalogEntry): Promise<void> {
    const { name } = entry;
    const waking = this.#waking.get(name);
    if (waking) return waking;
    const mine = this.#wake(name).finally(() => this.#waking.delete(name));
    this.#waking.set(name, mine);
    return mine;
  }

  /**
   * @throws MillraceError `function.missing`, `request.conflict` where there is nothing to scale, or somebody else does it.
   */
  async scale(name: string, replicas: number): Promise<void> {
    const entry = this.#parts.catalog.get(name);
    if (!entry) throw missingFunction(name);
    if (!entry.provider.scale) {
      const text = `function ${name} has no replicas to scale: its provider "${entry.providerName}" sees to that itself`;
      throw new MillraceError('request.conflict', text);
    }
    const { scaledBy, replicas: now } = entry.status;
    if (scaledBy !== undefined && now > 0) {
      const text = `function ${name} is scaled by ${scaledBy}, which would undo it: change or delete that one`;
      throw new MillraceError('request.conflict', text);
    }
    const tracked = this.#track(name);
    tracked.wanted = [];
    tracked.busyAt = this.#parts.clock.monotonic();
    await entry.provider.scale(name, replicas);
  }

  /** As OpenFaaS' gateway takes alerts: firing adds a part of the most, resolved goes to the least. */
  async alert(name: string, firing: boolean): Promise<void> {
    const entry = this.#parts.catalog.get(name);
    const { min, max, factor } = entry?.policy.scale ?? standardScale;
    const least = Math.max(1, min);
    const now = entry?.status.replicas ?? 0;
    // What somebody has scaled to zero stays there, and what somebody else scales is his.
    if (entry && (now === 0 || entry.status.scaledBy !== undefined)) return;
    const more = Math.min(max, now + Math.ceil((max * factor) / 100));
    await this.scale(name, firing ? Math.max(least, more) : least);
  }

  /** @throws MillraceError `function.missing` */
  async load(name: string): Promise<Load> {
    const entry = this.#parts.catalog.get(name);
    if (!entry) throw missingFunction(name);
    const tracked = this.#track(name);
    this.#sample(entry, tracked);
    const queued = await this.#queuedOf(entry.policy.queue);
    tracked.queued = queued?.get(name) ?? (queued ? 0 : undefined);
    return this.#loadOf(entry, tracked);
  }

  async #run(): Promise<void> {
    while (await sleep(tickMs, this.#stopped.signal)) {
      try {
        await this.look();
      } catch (error) {
        this.#parts.logger.error({ err: error }, 'scaling failed');
      }
    }
  }

  /** Looks at the load of every function, and asks for what it wants. */
  async look(): Promise<void> {
    const entries = this.#parts.catalog.list().filter(isScaled);
    for (const name of this.#tracked.keys()) if (!this.#parts.catalog.get(name)) this.#tracked.delete(name);
    if (entries.length === 0) return;
    const queues = new Map<string, ReadonlyMap<string, number> | undefined>();
    for (const { policy } of entries) {
      const { queue, scale } = policy;
      if ((scale?.type === 'queue' || scale?.zero) && !queues.has(queue))
        queues.set(queue, await this.#queuedOf(queue));
    }
    for (const { name, policy } of entries) {
      const queued = queues.get(policy.queue);
      this.#track(name).queued = queued && (queued.get(name) ?? 0);
      this.#adjust(name);
    }
  }

  /** In one turn of the event loop, so that no call comes between the look and the word. */
  #adjust(name: string): void {
    const entry = this.#parts.catalog.get(name);
    const scale = entry?.policy.scale;
    const tracked = this.#track(name);
    if (!entry || !scale) return;
    this.#sample(entry, tracked);
    const { replicas, scaledBy } = entry.status;
    const now = this.#parts.clock.monotonic();
    const load = this.#loadOf(entry, tracked);
    const isIdle = load.inFlight === 0 && load.queued === 0;
    if (!isIdle) tracked.busyAt = now;
    // From zero it goes by a call only: somebody may have put it there. Two who see to replicas would pull them to and fro.
    if (replicas === 0 || tracked.isScaling || scaledBy !== undefined) return;
    if (scale.zero && isIdle && now - tracked.busyAt >= scale.zeroAfterMs) {
      this.#ask(entry, tracked, 0);
      return;
    }
    const wanted = wantedBy(scale, load);
    tracked.wanted = tracked.wanted.filter(({ at }) => now - at < scale.downWindowMs);
    tracked.wanted.push({ at: now, replicas: wanted });
    const most = Math.max(...tracked.wanted.map((each) => each.replicas));
    if (most !== replicas && (most > replicas || this.#hasSeen(tracked, scale, now))) this.#ask(entry, tracked, most);
  }

  /** Whether it has been looked at for the whole window: a gateway that has just begun knows of no load. */
  #hasSeen({ wanted }: Tracked, { downWindowMs }: ScalePolicy, now: number): boolean {
    return now - (wanted[0]?.at ?? now) >= downWindowMs - 2 * tickMs;
  }

  #ask(entry: CatalogEntry, tracked: Tracked, replicas: number): void {
    const { logger } = this.#parts;
    const { name, status } = entry;
    logger.info({ function: name, from: status.replicas, to: replicas }, 'a function is scaled');
    tracked.isScaling = true;
    const asking = entry.provider.scale?.(name, replicas) ?? Promise.resolve();
    asking
      .catch((error: unknown) => logger.error({ err: error, function: name }, 'a function could not be scaled'))
      .finally(() => (tracked.isScaling = false));
  }

  async #wake(name: string): Promise<void> {
    const { catalog, logger, clock } = this.#parts;
    for (let attempt = 0; attempt < wakeAttempts && !this.#stopped.signal.aborted; attempt++) {
      const entry = catalog.get(name);
      if (entry?.status.state !== 'cold' || !entry.provider.scale) return;
      const tracked = this.#track(name);
      tracked.busyAt = clock.monotonic();
      tracked.wanted = [];
      try {
        await entry.provider.scale(name, Math.max(1, entry.policy.scale?.min ?? 1));
        return;
      } catch (error) {
        logger.warn({ err: error, function: name, attempt }, 'a cold function could not be scaled: trying again');
        await sleep(Math.min(maxWakeRetryMs, wakeRetryMs * 2 ** attempt), this.#stopped.signal);
      }
    }
  }

  #sample({ name, provider }: CatalogEntry, tracked: Tracked): void {
    const at = this.#parts.clock.monotonic();
    const cpuMs = provider.cpuMs?.(name) ?? 0;
    const started = this.#parts.startedCount(name);
    if (started !== tracked.samples.at(-1)?.started) tracked.busyAt = at;
    tracked.samples.push({ at, started, cpuMs });
    while (tracked.samples.length > 2 && at - (tracked.samples[1]?.at ?? at) >= averageMs) tracked.samples.shift();
  }

  #loadOf({ slots }: CatalogEntry, { samples, queued }: Tracked): Load {
    const [first, last] = [samples[0], samples.at(-1)];
    const ms = first && last ? last.at - first.at : 0;
    const perMs = (value: (sample: Sample) => number): number =>
      first && last && ms > 0 ? Math.max(0, value(last) - value(first)) / ms : 0;
    return {
      inFlight: slots.running + slots.waiting + slots.held,
      queued,
      perSecond: 1000 * perMs(({ started }) => started),
      cpu: 1000 * perMs(({ cpuMs }) => cpuMs),
    };
  }

  async #queuedOf(queue: string): Promise<ReadonlyMap<string, number> | undefined> {
    try {
      const lanes = await this.#parts.queues.get(queue)?.lanes();
      return lanes && new Map(lanes.map(({ lane, ready, blocked, leased }) => [lane, ready + blocked + leased]));
    } catch (error) {
      // Unknown is not idle: nothing is scaled to zero meanwhile.
      this.#parts.logger.warn({ err: error, queue }, 'a queue did not tell what waits in it');
      return undefined;
    }
  }

  #track(name: string): Tracked {
    let tracked = this.#tracked.get(name);
    if (!tracked) {
      const busyAt = this.#parts.clock.monotonic();
      tracked = { samples: [], wanted: [], busyAt, queued: undefined, isScaling: false };
      this.#tracked.set(name, tracked);
    }
    return tracked;
  }
}

function isScaled({ policy, provider }: CatalogEntry): boolean {
  return policy.scale !== undefined && provider.scale !== undefined;
}

/** How many replicas bear that load, each at the wanted part of its target. */
function wantedBy({ type, target, targetProportion, min, max }: ScalePolicy, load: Load): number {
  const measured = { capacity: load.inFlight, rps: load.perSecond, cpu: load.cpu, queue: load.queued ?? 0 }[type];
  // Sums of fractions must not ask for one more.
  const replicas = Math.ceil(measured / (target * targetProportion) - 1e-9);
  return Math.min(max, Math.max(1, min, replicas));
}
