import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { ConnectionEnd } from '../api/caller-connections.ts';
import type { ListenAddress } from '../api/server.ts';
import type { Config } from '../config/schema.ts';
import type { Clock } from '../contracts/clock.ts';
import type { Catalog } from '../functions/catalog.ts';
import type { Events } from '../observe/events.ts';
import { Counter, Gauge, type Registry } from '../observe/prometheus.ts';
import type { Meter } from '../observe/meter.ts';
import { FrontProcess } from './front-process.ts';
import { type Debtor, type InFlight, Lender } from './lender.ts';
import { difference, planOf } from './plan.ts';
import type { FrontNews, FrontPlan, ToFront, ToOwner } from './protocol.ts';

/** How soon a front that has ended is started again, ms; after twice as long when it did not live for `livedMs`. */
const restartMs = { first: 100, most: 10_000 };
const livedMs = 10_000;

export interface FrontsParts {
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly events: Events;
  readonly logger: Logger;
  readonly meter: Meter;
  readonly metrics: Registry;
  readonly baseFolder: string;
  /** Told of each connection of a front that was one too many, or too slow. */
  readonly connectionEnded: (reason: ConnectionEnd) => void;
  /** Of the connector that answers calls of functions. */
  readonly inFlight: () => InFlight | undefined;
}

/** One place for a front, which is filled again when that has ended. */
interface Place extends Debtor {
  readonly number: number;
  front: FrontProcess | undefined;
  /** What it goes by. */
  plan: FrontPlan | undefined;
  /** By function: attempts that it has begun and not told the end of. */
  readonly running: Map<string, number>;
  /** Calls that it has begun and not told the end of. */
  inFlight: number;
  delayMs: number;
}

/**
 * The processes that share the public port with the owner, which is the gateway itself. They answer what any process can
 * answer by itself, and pass all else on. Before anything changes they are told to pass everything on, so that a change
 * happens in one place, and at once.
 */
export class Fronts {
  /** The socket at which the owner takes what they pass on; its folder is for this user only. */
  readonly path: string;
  readonly #parts: FrontsParts;
  readonly #folder: string;
  readonly #lender: Lender;
  readonly #places: readonly Place[];
  readonly #restarts: Counter;
  readonly #calls: Counter<'by'>;
  /** Calls that were answered in front. */
  settled = 0;
  #plan: FrontPlan;
  #listensAt: readonly ListenAddress[] = [];
  #isHolding = false;
  #isClosing = false;
  readonly #closed = Promise.withResolvers<void>();

  constructor(count: number, config: Config, parts: FrontsParts) {
    this.#parts = parts;
    this.#plan = planOf(config);
    this.#folder = mkdtempSync(join(tmpdir(), 'millrace-'));
    this.path = join(this.#folder, 'owner.sock');
    this.#lender = new Lender(parts.catalog, parts.inFlight);
    this.#places = Array.from({ length: count }, (_, index) => this.#place(index + 1));
    const registers = [parts.metrics];
    this.#restarts = new Counter({
      name: 'millrace_front_restarts_total',
      help: 'Processes of gateway.processes that ended by themselves and were started again.',
      registers,
    });
    this.#calls = new Counter({
      name: 'millrace_front_calls_total',
      help: 'Requests that came to processes in front, by what became of them: answered there, or passed on.',
      labelNames: ['by'],
      registers,
    });
    const isUp = (): number => this.#places.filter(({ front }) => front?.isListening).length;
    new Gauge({
      name: 'millrace_fronts',
      help: 'Processes that take connections in front of this one.',
      registers,
      collect() {
        this.set(isUp());
      },
    });
  }

  /** Resolves once each listens, or has ended at its first try: that one is tried again. */
  async start(listensAt: readonly ListenAddress[]): Promise<void> {
    this.#listensAt = listensAt;
    this.#parts.events.onWatched = (isWatched) => this.#tellAll({ kind: 'watched', isWatched });
    await Promise.all(this.#places.map((place) => this.#fill(place)));
  }

  /** From now on each passes on all that comes. */
  async hold(): Promise<void> {
    this.#isHolding = true;
    await this.#ask('hold');
  }

  /** From now on they answer by this configuration. */
  take(config: Config): void {
    this.#isHolding = false;
    this.#plan = planOf(config);
    for (const place of this.#places) this.#give(place);
  }

  /** The connector whose calls they answer, by name. */
  get connector(): string | undefined {
    return this.#plan.settings.connector?.name;
  }

  /** Calls that run in front. */
  get inFlight(): number {
    return this.#places.reduce((sum, { inFlight }) => sum + inFlight, 0);
  }

  /** Attempts that run in front. */
  running(name: string): number {
    return this.#places.reduce((sum, { running }) => sum + (running.get(name) ?? 0), 0);
  }

  /** Has them tell what they have counted, up to now. */
  async refresh(): Promise<void> {
    await this.#ask('tell');
  }

  /** A connection ends after its next answer. */
  leave(): void {
    this.#isClosing = true; // One that ends now is not missed.
    this.#tellAll({ kind: 'leave' });
  }

  /** They take no more; resolves when each has answered what it had. */
  close(): Promise<void> {
    this.#isClosing = true;
    this.#tellAll({ kind: 'close' });
    this.#lookClosed();
    return this.#closed.promise;
  }

  /** Ends what is left of them. */
  async stop(): Promise<void> {
    this.#isClosing = true;
    this.#parts.events.onWatched = undefined;
    await this.#all((front) => {
      front.kill();
      return front.ended;
    });
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #place(number: number): Place {
    const place: Place = {
      number,
      front: undefined,
      plan: undefined,
      running: new Map(),
      inFlight: 0,
      delayMs: restartMs.first,
      recall: (name) => place.front?.say({ kind: 'recall', name }),
    };
    return place;
  }

  async #fill(place: Place): Promise<void> {
    const { clock, baseFolder } = this.#parts;
    const startedAt = clock.monotonic();
    const { promise: listening, resolve } = Promise.withResolvers<void>();
    const front = new FrontProcess((said) => {
      this.#said(place, front, said);
      if (said.kind !== 'listening') return;
      this.#give(place);
      resolve();
    });
    place.front = front;
    const { number } = place;
    const { settings } = this.#plan;
    place.plan = { settings, functions: new Map() };
    front.say({
      kind: 'begin',
      place: { number, within: this.path, listensAt: this.#listensAt, baseFolder },
      settings,
    });
    front.say({ kind: 'watched', isWatched: this.#parts.events.isWatched });
    void front.ended.then(() => this.#ended(place, clock.monotonic() - startedAt));
    await Promise.race([listening, front.ended]);
  }

  /** One that does not listen yet, or waits for a change, passes everything on. */
  #give(place: Place): void {
    if (this.#isHolding || !place.plan || !place.front?.isListening) return;
    place.front.say({ kind: 'take', ...difference(place.plan, this.#plan) });
    place.plan = this.#plan;
  }

  #ended(place: Place, lived: number): void {
    const { logger, meter } = this.#parts;
    const { front, number, running } = place;
    place.front = undefined;
    this.#lender.forget(place);
    for (const [name, count] of running) meter.lost(name, count);
    running.clear();
    place.inFlight = 0;
    this.#lookClosed();
    if (this.#isClosing) return;
    place.delayMs = lived < livedMs ? Math.min(restartMs.most, place.delayMs * 2) : restartMs.first;
    this.#restarts.inc();
    logger.error({ front: number, pid: front?.pid, againInMs: place.delayMs }, 'a process in front has ended');
    setTimeout(() => void (this.#isClosing || this.#fill(place)), place.delayMs);
  }

  #said(place: Place, front: FrontProcess, said: ToOwner): void {
    if (said.kind === 'borrow') {
      const { name } = said;
      front.say({ kind: 'lent', name, count: this.#isHolding ? 0 : this.#lender.lend(name, said.count, place) });
    } else if (said.kind === 'returned') this.#lender.returned(said.name, said.count, place);
    else if (said.kind === 'told') this.#count(place, said.news);
    else if (said.kind === 'event') this.#parts.events.relay(said.event);
    else if (said.kind === 'closed') this.#lookClosed();
  }

  #count(place: Place, { attempts, answered, settled, passed, ended }: FrontNews): void {
    const { meter, connectionEnded } = this.#parts;
    const { running } = place;
    place.inFlight += answered - settled;
    this.settled += settled;
    for (const news of attempts) {
      meter.add(news);
      const over = news.byStatus.flatMap(({ buckets }) => buckets).reduce((sum, count) => sum + count, 0);
      const left = (running.get(news.name) ?? 0) + news.started - over;
      if (left === 0) running.delete(news.name);
      else running.set(news.name, left);
    }
    this.#calls.inc({ by: 'answered' }, answered);
    this.#calls.inc({ by: 'passed' }, passed);
    for (const reason of ended) connectionEnded(reason);
  }

  #lookClosed(): void {
    if (this.#isClosing && this.#places.every(({ front }) => !front || front.isClosed)) this.#closed.resolve();
  }

  #tellAll(words: ToFront): void {
    for (const { front } of this.#places) front?.say(words);
  }

  async #all(work: (front: FrontProcess) => Promise<void>): Promise<void> {
    await Promise.all(this.#places.flatMap(({ front }) => (front ? [work(front)] : [])));
  }

  /** Those that begin have answered nothing yet. */
  async #ask(kind: 'hold' | 'tell'): Promise<void> {
    await this.#all(async (front) => {
      if (front.isListening) await front.ask(kind);
    });
  }
}
