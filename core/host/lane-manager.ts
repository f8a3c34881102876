import { Observable, Subject, takeUntil } from '../kit/rxjs.ts';
import type { Delivery } from '../contracts/delivery.ts';
import type { LaneSource } from '../delivery/lanes.ts';
import { PacedCredit } from '../delivery/credit.ts';
import type { Queue } from '../contracts/queue.ts';
import type { Catalog } from '../functions/catalog.ts';
import type { Logger } from 'pino';

/** A lane whose function is not known is read all the same: its messages must come to an end too. */
const unknownLaneCredit = 1;
const lookMs = 2000;

interface OpenLane {
  readonly credit: PacedCredit;
}

/**
 * Decides which lanes of a queue are read: those of every function that uses it, and those that hold anything (work of
 * a function that has gone, of another gateway, or from before a restart).
 */
export class LaneManager {
  readonly #queueName: string;
  readonly #queue: Queue;
  readonly #source: LaneSource;
  readonly #catalog: Catalog;
  readonly #logger: Logger;
  readonly #open = new Map<string, OpenLane>();
  readonly #stopped = new Subject<void>();
  #looking: NodeJS.Timeout | undefined;
  #ended = false;

  constructor(queueName: string, queue: Queue, source: LaneSource, catalog: Catalog, logger: Logger) {
    this.#queueName = queueName;
    this.#queue = queue;
    this.#source = source;
    this.#catalog = catalog;
    this.#logger = logger;
  }

  /** Emits a source of deliveries for each lane as it is opened; unsubscribing takes no more from any. */
  sources(): Observable<Observable<Delivery>> {
    return new Observable((subscriber) => {
      const open = (lane: string): void => {
        const limit = this.#limitOf(lane);
        const lane$ = this.#open.get(lane);
        if (lane$) return lane$.credit.resize(limit);
        const credit = new PacedCredit(limit);
        this.#open.set(lane, { credit });
        subscriber.next(this.#source.deliveries(lane, credit).pipe(takeUntil(this.#stopped)));
      };
      const changes = this.#catalog.changes.subscribe(({ entry }) => {
        if (entry.policy.queue === this.#queueName || this.#open.has(entry.name)) open(entry.name);
      });
      for (const entry of this.#catalog.list()) if (entry.policy.queue === this.#queueName) open(entry.name);
      const look = async (): Promise<void> => {
        try {
          for (const { lane, ready, blocked, delayed, leased } of await this.#queue.lanes()) {
            if (ready + blocked + delayed + leased > 0 && !this.#open.has(lane)) open(lane);
          }
        } catch (error) {
          this.#logger.warn({ err: error, queue: this.#queueName }, 'the lanes of a queue could not be listed');
        }
        if (!this.#ended) this.#looking = setTimeout(() => void look(), lookMs);
      };
      void look();
      return () => changes.unsubscribe();
    });
  }

  /** Takes no more work. */
  stop(): void {
    this.#ended = true;
    clearTimeout(this.#looking);
    this.#stopped.next();
  }

  #limitOf(lane: string): number {
    return this.#catalog.get(lane)?.slots.limit ?? unknownLaneCredit;
  }
}
