import type { buildConnector } from 'undici';
import type { Clock } from '../../contracts/clock.ts';

/** How soon a place that refuses connections is looked at again, ms; after twice as long when that was in vain. */
const lookMs = { first: 100, most: 10_000 };

export interface ReachTarget {
  readonly origin: URL;
  readonly connect: buildConnector.connector;
  readonly clock: Clock;
  /** Called when `isGiven` has changed; with the reason when there is none. */
  readonly onChange: (error?: Error) => void;
}

/** Whether a place can be connected to. Once a connection could not be made, it looks again and again until one can. */
export class Reach {
  isGiven = true;
  /** Monotonic ms: when it looks next. */
  nextLook = 0;
  readonly #target: ReachTarget;
  #looks = 0;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(target: ReachTarget) {
    this.#target = target;
  }

  /** A connection could not be made. */
  failed(error: Error): void {
    if (this.#closed || !this.isGiven) return;
    this.isGiven = false;
    this.#lookLater();
    this.#target.onChange(error);
  }

  /** Somebody who should know says that it can be connected to: what failed before is of no account. */
  renew(): void {
    if (this.isGiven) return;
    clearTimeout(this.#timer);
    this.#found();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #found(): void {
    this.isGiven = true;
    this.#looks = 0;
    this.nextLook = 0;
    this.#target.onChange();
  }

  #lookLater(): void {
    const delayMs = Math.min(lookMs.most, lookMs.first * 2 ** this.#looks++);
    this.nextLook = this.#target.clock.monotonic() + delayMs;
    this.#timer = setTimeout(() => this.#look(), delayMs);
  }

  #look(): void {
    const { protocol, hostname, port, host } = this.#target.origin;
    this.#target.connect({ protocol, port, host, hostname: hostname.replace(/^\[|\]$/g, '') }, (error, socket) => {
      socket?.destroy();
      if (this.#closed || this.isGiven) return;
      if (error) this.#lookLater();
      else this.#found();
    });
  }
}
