import type { Clock } from '../contracts/clock.ts';
import type { Replica } from './replica.ts';
import { heartbeatMs } from './sessions.ts';
import type { Writer } from './writer.ts';

/** A tick for what somebody waits for is a little late at random, so that of several gateways mostly one says it. */
const jitterMs = 20;
/** What is only to be forgotten waits for so long until somebody says something anyway. */
const choresPauseMs = 30_000;
const awayPauseMs = 500;

/** Lets what is due happen when nobody asks for anything, and says that this gateway lives while anything is leased. */
export class Pulse {
  readonly #replica: Replica;
  readonly #writer: Writer;
  readonly #clock: Clock;
  #ticking: NodeJS.Timeout | undefined;
  #beating: NodeJS.Timeout | undefined;
  /** Monotonic, ms: when something was last said here. */
  #saidAt = 0;
  #stopped = false;

  constructor(replica: Replica, writer: Writer, clock: Clock) {
    this.#replica = replica;
    this.#writer = writer;
    this.#clock = clock;
  }

  start(): void {
    this.#beating = setInterval(() => this.#beat(), heartbeatMs / 4).unref();
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#beating);
    clearTimeout(this.#ticking);
  }

  said(): void {
    this.#saidAt = this.#clock.monotonic();
  }

  /** After each change: a timer for what happens next by itself. */
  arm(): void {
    clearTimeout(this.#ticking);
    const due = this.#due();
    if (due === Infinity || this.#stopped) return;
    this.#wait(Math.max(1, due - this.#replica.time) + Math.random() * jitterMs);
  }

  #due(): number {
    const { agenda, chores } = this.#replica.state.messages;
    return Math.min(agenda.next, chores.next + choresPauseMs);
  }

  #wait(ms: number): void {
    this.#ticking = setTimeout(() => this.#tick(), Math.min(ms, 2 ** 31 - 1)).unref();
  }

  #tick(): void {
    if (this.#due() > this.#replica.time) return this.arm();
    this.#writer.submit({ do: 'tick' }).catch(() => {
      // The broker is away: until it is back nothing can happen.
      if (!this.#stopped) this.#wait(awayPauseMs);
    });
  }

  #beat(): void {
    this.#writer.sweep();
    const silentMs = this.#clock.monotonic() - this.#saidAt;
    if (this.#replica.state.messages.held.size === 0 || silentMs < heartbeatMs * 0.75) return;
    this.#writer.submit({ do: 'tick' }).catch(() => {
      // Nobody can say anything now; such time does not count.
    });
  }
}
