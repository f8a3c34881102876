import { Observable, Subject, takeUntil } from '../kit/rxjs.ts';
import type { Delivery } from '../contracts/delivery.ts';
import type { LaneStats } from '../contracts/queue.ts';
import type { LaneSource } from '../delivery/lanes.ts';
import { PacedCredit } from '../delivery/credit.ts';
import type { Catalog } from '../functions/catalog.ts';
import type { Logger } from 'pino';
import type { UsedQueue } from './used-queue.ts';

/** A lane whose function is not known is read all the same: its messages must come to an end too. */
const unknownLaneCredit = 1;
const lookMs = 2000;
/** A lane that was empty at so many looks in a row is not read any more: 30 s. */
const quietLooks = 15;

interface OpenLane {
  readonly credit: PacedCredit;
  readonly closed: Subject<void>;
  quiet: number;
}

/**
 * Decides which lanes of a queue are read: those that hold anything, whoever gave it (this gateway, another one, one
 * before a restart) and whether or not there is a function for it. A lane that nobody uses costs nothing, however many
 * functions there are.
 */
export class LaneManager {
  readonly #queueName: string;
  readonly #queue: UsedQueue;
  readonly #source: LaneSource;
  readonly #catalog: Catalog;
  readonly #logger: Logger;
  readonly #open = new Map<string, OpenLane>();
  #looking: NodeJS.Timeout | undefined;
  #ended = false;

  constructor(queueName: string, queue: UsedQueue, source: LaneSource, catalog: Catalog, logger: Logger) {
    this.#queueName = queueName;
    this.#queue = queue;
    this.#source = source;
    this.#catalog = catalog;
    this.#logger = logger;
  }

  /** Emits a source of deliveries for each lane as it is opened; unsubscribing opens no more. */
  sources(): Observable<Observable<Delivery>> {
    return new Observable((subscriber) => {
      const use = (lane: string): void => {
        const known = this.#open.get(lane);
        if (known) known.quiet = 0;
        else if (!this.#ended) subscriber.next(this.#opened(lane));
      };
      const changes = this.#catalog.changes.subscribe(({ entry }) => {
        this.#open.get(entry.name)?.credit.resize(this.#limitOf(entry.name));
      });
      this.#queue.onUse = use;
      void this.#look(use);
      return () => {
        changes.unsubscribe();
        this.#queue.onUse = () => {};
      };
    });
  }

  /** Takes no more work. */
  stop(): void {
    this.#ended = true;
    clearTimeout(this.#looking);
    for (const lane of this.#open.keys()) this.#close(lane);
  }

  async #look(use: (lane: string) => void): Promise<void> {
    try {
      const lanes = await this.#queue.lanes();
      for (const lane of this.#open.values()) lane.quiet++;
      for (const stats of lanes) if (holdsAnything(stats)) use(stats.lane);
      for (const [name, { quiet }] of this.#open) if (quiet >= quietLooks) this.#close(name);
    } catch (error) {
      this.#logger.warn({ err: error, queue: this.#queueName }, 'the lanes of a queue could not be listed');
    }
    if (!this.#ended) this.#looking = setTimeout(() => void this.#look(use), lookMs);
  }

  #opened(lane: string): Observable<Delivery> {
    const open: OpenLane = { credit: new PacedCredit(this.#limitOf(lane)), closed: new Subject(), quiet: 0 };
    this.#open.set(lane, open);
    return this.#source.deliveries(lane, open.credit).pipe(takeUntil(open.closed));
  }

  /** What it is given at that very moment goes back to the queue, and is seen there by the next look. */
  #close(lane: string): void {
    const open = this.#open.get(lane);
    this.#open.delete(lane);
    open?.closed.next();
  }

  #limitOf(lane: string): number {
    return this.#catalog.get(lane)?.slots.limit ?? unknownLaneCredit;
  }
}

function holdsAnything({ ready, blocked, delayed, leased }: LaneStats): boolean {
  return ready + blocked + delayed + leased > 0;
}
