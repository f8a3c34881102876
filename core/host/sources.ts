import { mergeAll, Observable, type OperatorFunction, Subject, Subscription } from '../kit/rxjs.ts';
import type { Logger } from 'pino';
import type { Clock } from '../contracts/clock.ts';
import type { Delivery, Settled } from '../contracts/delivery.ts';
import { LaneSource } from '../delivery/lanes.ts';
import type { Catalog } from '../functions/catalog.ts';
import { Ring, unlink } from '../kit/ring.ts';
import type { Meter } from '../observe/meter.ts';
import type { RecentInvocations } from '../observe/recent-invocations.ts';
import { LaneManager } from './lane-manager.ts';
import type { RunningConnector } from './plugins.ts';
import type { UsedQueue } from './used-queue.ts';

export interface SourcesParts {
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly meter: Meter;
  readonly recent: RecentInvocations;
  readonly resultBody: number;
}

/** A connector of which deliveries are taken. */
interface Taken {
  /** What it has in the pipeline, but for calls: those end with their callers' connections. */
  readonly given: Ring<Delivery>;
  taking: Subscription | undefined;
  /** Nothing of it is run any more. */
  isAborted: boolean;
}

/** The one subscription of the process: every connector and every lane of every queue, through the one pipeline. */
export class Sources {
  readonly #parts: SourcesParts;
  /** Lanes. */
  readonly #opened = new Subject<Observable<Delivery>>();
  readonly #flow = new Subscription();
  readonly #lanes: { readonly manager: LaneManager; readonly source: LaneSource }[] = [];
  readonly #taken = new Map<RunningConnector, Taken>();
  /** Of connectors: to merge them as lanes are, with a Subject for each, costs as much as a stage. */
  #enter = (_delivery: Delivery): void => {
    throw new Error('the pipeline has not been started');
  };

  constructor(parts: SourcesParts) {
    this.#parts = parts;
  }

  start(pipeline: OperatorFunction<Delivery, Settled>): void {
    const merged = new Observable<Delivery>((subscriber) => {
      this.#enter = (delivery) => subscriber.next(delivery);
      this.#opened.pipe(mergeAll()).subscribe(subscriber);
    });
    this.#flow.add(
      merged.pipe(pipeline).subscribe({
        next: ({ delivery }) => unlink(delivery),
        error: (error: unknown) => this.#parts.logger.fatal({ err: error }, 'the pipeline ended'),
      }),
    );
  }

  /** Reads the lanes of a queue from now on. */
  addQueue(queueName: string, queue: UsedQueue): void {
    const { catalog, clock, logger, meter, recent, resultBody } = this.#parts;
    const stale = (): void => meter.stale(queueName);
    const source = new LaneSource({ queueName, queue, clock, logger, recent, resultBody, stale });
    const manager = new LaneManager(queueName, queue, source, catalog, logger);
    this.#lanes.push({ manager, source });
    source.start();
    this.#flow.add(manager.sources().subscribe((lane) => this.#opened.next(lane)));
  }

  /** Merges a connector in, so that its failure is its own. */
  addConnector(running: RunningConnector): void {
    const { instance, connector, credit, intake } = running;
    const taken: Taken = { given: new Ring<Delivery>(), taking: undefined, isAborted: false };
    this.#taken.set(running, taken);
    const give = (delivery: Delivery): void => {
      if ((intake || delivery.settlement.kind === 'settles') && !delivery.entered) {
        taken.given.add(delivery);
        if (taken.isAborted) delivery.abort('stopping');
      }
      this.#enter(delivery);
    };
    intake?.runs(give);
    const settled = {
      giveBack: (): void => {
        running.inFlight--;
        running.settled++;
        credit.giveBack();
      },
    };
    void instance.step(() => {
      const taking = connector.deliveries(credit).subscribe({
        next: (delivery) => {
          if (running.inFlight >= credit.outstanding) {
            // Without bounds it would flood the gateway. What it emitted is not run, and not acknowledged either.
            instance.fail(new Error('it emitted a delivery for which it had taken no credit'));
            return;
          }
          running.inFlight++;
          delivery.credit = settled;
          if (intake) intake.take(delivery);
          else give(delivery);
        },
        error: (error: unknown) => instance.fail(error),
      });
      taken.taking = taking;
      instance.host.signal.addEventListener('abort', () => taking.unsubscribe(), { once: true });
    });
  }

  /** It takes nothing more; what it has taken goes on to its end. */
  leave(running: RunningConnector): void {
    this.#taken.get(running)?.taking?.unsubscribe();
    running.intake?.drain();
  }

  /** It has been stopped: nothing of it is kept. What it has in the pipeline goes on to its end. */
  remove(running: RunningConnector): void {
    this.leave(running);
    this.#taken.delete(running);
  }

  /** Nothing more is taken from anywhere. */
  leaveAll(): void {
    for (const { manager } of this.#lanes) manager.stop();
    for (const running of this.#taken.keys()) this.leave(running);
  }

  /** The leases that run, of all queues. */
  get running(): readonly Delivery[] {
    return this.#lanes.flatMap(({ source }) => source.running);
  }

  /** Resolves when every lease has been settled. */
  async whenIdle(): Promise<void> {
    await Promise.all(this.#lanes.map(({ source }) => source.whenIdle()));
  }

  /** What runs of the queues and the connectors goes back to them. */
  abort(): void {
    for (const { source } of this.#lanes) source.abort();
    for (const running of this.#taken.keys()) this.abortConnector(running);
  }

  /** What runs of it, and what it has waiting here, goes back to its source. */
  abortConnector(running: RunningConnector): void {
    const taken = this.#taken.get(running);
    if (!taken) return;
    taken.isAborted = true;
    for (const delivery of taken.given.items) delivery.abort('stopping');
  }

  stop(): void {
    this.#flow.unsubscribe();
    for (const { source } of this.#lanes) source.stop();
  }
}
