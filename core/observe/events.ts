import { Observable, Subject } from '../kit/rxjs.ts';
import type { Clock } from '../contracts/clock.ts';

/** What happens in the gateway, as `/system/events` tells it. */
export const eventTypes = [
  'invocation.accepted',
  'invocation.started',
  'invocation.succeeded',
  'invocation.failed',
  'invocation.retried',
  'invocation.dead',
  'invocation.cancelled',
  'function.changed',
  'plugin.failed',
  'gateway.ready',
  'gateway.stopping',
  'config.reloaded',
  'config.reload-failed',
] as const;
export type EventType = (typeof eventTypes)[number];

export interface EventDetails {
  /** Of the invocation. */
  readonly id?: string;
  /** `name.namespace` */
  readonly function?: string;
  readonly attempt?: number;
  readonly status?: number;
  readonly delayMs?: number;
  readonly reason?: string;
  /** Of the function, or of the plugin. */
  readonly state?: string;
  readonly plugin?: string;
  readonly error?: string;
}

export interface MillraceEvent extends EventDetails {
  readonly type: EventType;
  /** Wall clock, ms. */
  readonly at: number;
}

export type Emit = (type: EventType, details?: EventDetails) => void;

/** Tells every listener what happens; with none it costs one comparison. */
export class Events {
  readonly all: Observable<MillraceEvent>;
  readonly #subject = new Subject<MillraceEvent>();
  readonly #clock: Clock;
  /** Told when the first listener comes, and when the last one has gone. */
  onWatched: ((isWatched: boolean) => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.all = new Observable((listener) => {
      if (!this.#subject.observed) this.onWatched?.(true);
      const listening = this.#subject.subscribe(listener);
      return () => {
        listening.unsubscribe();
        if (!this.#subject.observed) this.onWatched?.(false);
      };
    });
  }

  get isWatched(): boolean {
    return this.#subject.observed;
  }

  /** Passes on what another process of the gateway tells. */
  readonly relay = (event: MillraceEvent): void => this.#subject.next(event);

  readonly emit: Emit = (type, details) => {
    if (this.#subject.observed) this.#subject.next({ type, at: this.#clock.now(), ...details });
  };
}
