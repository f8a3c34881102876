import type { Clock } from '../../../core/contracts/clock.ts';
import type { Outcome } from '../../../core/contracts/invocation.ts';
import type { Call, WorkQueueStats } from '../../../core/contracts/provider.ts';
import { Attempt, type WaitingRoom } from './attempt.ts';
import { failure } from './failure.ts';
import { type PoolSettings, threadEnv } from './settings.ts';
import { Thread, type ThreadOwner } from './thread.ts';

/** What a pool tells the provider. */
export interface PoolOwner {
  /** Threads came or went, or the module cannot be imported (`error`). */
  changed(pool: Pool): void;
  log(line: { function: string; instance: string; text: string; callId?: string | undefined }): void;
}

/** A failed import is not tried again for every call that comes: so long it is answered from memory, ms. */
const importPauseMs = 1000;

/**
 * The warm threads of one function, and the attempts that wait for one. Threads are started when calls need them, up to
 * `max`, and ended when they have been idle; a reload retires all of them, so that new calls meet the new module.
 */
export class Pool implements ThreadOwner, WaitingRoom {
  settings: PoolSettings;
  /** Why the module cannot be imported; undefined once it could. */
  importError: string | undefined;
  readonly #clock: Clock;
  readonly #owner: PoolOwner;
  readonly #threads = new Set<Thread>();
  readonly #waiting = new Set<Attempt>();
  #nextNumber = 1;
  #failedAt = -Infinity;
  #idleTimer: NodeJS.Timeout | undefined;
  #whenEmpty: (() => void) | undefined;
  #stopping = false;

  constructor(settings: PoolSettings, clock: Clock, owner: PoolOwner) {
    this.settings = settings;
    this.#clock = clock;
    this.#owner = owner;
    this.#startUpToMin();
  }

  get threads(): number {
    return this.#current().length;
  }

  get capacity(): number {
    return this.settings.max * this.settings.perThread;
  }

  stats(): WorkQueueStats {
    const [oldest] = this.#waiting;
    let running = 0;
    for (const thread of this.#threads) running += thread.attempts.size;
    return {
      name: this.settings.function,
      waiting: this.#waiting.size,
      running,
      oldestAgeMs: oldest ? this.#clock.monotonic() - oldest.startedAt : 0,
    };
  }

  run(call: Call, body: Call['invocation']['body']): Promise<Outcome> {
    return new Promise((resolve) => {
      const now = this.#clock.monotonic();
      if (this.importError !== undefined && now - this.#failedAt < importPauseMs) {
        resolve(failure('crash', 'function.crashed', this.importError, 0));
        return;
      }
      const attempt = new Attempt(this.#nextNumber++, call, body, this.#clock, now, this, resolve);
      if (call.signal.aborted) {
        attempt.handleEvent();
        return;
      }
      this.#waiting.add(attempt);
      this.#dispatch();
    });
  }

  /** The module has changed: new calls go to threads that import it anew. */
  reload(settings: PoolSettings): void {
    this.settings = settings;
    this.importError = undefined;
    this.#failedAt = -Infinity;
    for (const thread of this.#threads) thread.retire();
    this.#startUpToMin();
    this.#dispatch();
    this.#owner.changed(this);
  }

  /** Lets what runs finish until the deadline, then ends every thread. */
  async stop(deadlineMs: number): Promise<void> {
    this.#stopping = true;
    clearInterval(this.#idleTimer);
    for (const attempt of this.#waiting) attempt.fail('cancelled', 'gateway.stopping', 'the gateway is shutting down');
    this.#waiting.clear();
    if (this.#threads.size === 0) return;
    const empty = new Promise<void>((resolve) => (this.#whenEmpty = resolve));
    for (const thread of this.#threads) thread.retire();
    const timer = setTimeout(() => {
      for (const thread of this.#threads) thread.kill('was ended: the gateway is shutting down');
    }, deadlineMs);
    await empty;
    clearTimeout(timer);
  }

  ready(): void {
    this.importError = undefined;
    this.#owner.changed(this);
    this.#dispatch();
  }

  free(thread: Thread): void {
    if (thread.attempts.size === 0) thread.idleSince = this.#clock.monotonic();
    this.#dispatch();
  }

  gone(thread: Thread, importError: string | undefined): void {
    this.#threads.delete(thread);
    // A thread of before a reload says nothing about the module as it is now.
    if (importError !== undefined && thread.settings === this.settings && !this.#stopping) {
      this.importError = importError;
      this.#failedAt = this.#clock.monotonic();
      for (const attempt of this.#waiting) attempt.fail('crash', 'function.crashed', importError);
      this.#waiting.clear();
    } else this.#dispatch();
    this.#owner.changed(this);
    if (this.#threads.size === 0) this.#whenEmpty?.();
  }

  left(attempt: Attempt): void {
    this.#waiting.delete(attempt);
  }

  log(thread: Thread, text: string, callId: string | undefined): void {
    if (text !== '')
      this.#owner.log({ function: this.settings.function, instance: `thread-${thread.id}`, text, callId });
  }

  /** First come, first served; a thread is started when more wait than those that start will take. */
  #dispatch(): void {
    if (this.#stopping) return;
    const threads = this.#current();
    for (const attempt of this.#waiting) {
      const thread = threads.find(({ hasRoom }) => hasRoom);
      if (!thread) break;
      this.#waiting.delete(attempt);
      thread.run(attempt, this.#clock.now() + (attempt.call.deadline - this.#clock.monotonic()));
    }
    const starting = threads.filter(({ state }) => state === 'starting').length;
    let missing = Math.ceil(this.#waiting.size / this.settings.perThread) - starting;
    for (let room = this.settings.max - threads.length; missing > 0 && room > 0; room--, missing--) this.#start();
  }

  #start(): void {
    this.#threads.add(new Thread(this.settings, threadEnv(this.settings.env), this));
    this.#idleTimer ??= setInterval(() => this.#endIdle(), Math.max(100, this.settings.idleMs / 4)).unref();
  }

  #startUpToMin(): void {
    while (this.#current().length < this.settings.min) this.#start();
  }

  #endIdle(): void {
    const now = this.#clock.monotonic();
    let spare = this.#current().length - this.settings.min;
    for (const thread of this.#threads) {
      const idle =
        thread.state === 'ready' && thread.attempts.size === 0 && now - thread.idleSince >= this.settings.idleMs;
      if (idle && spare-- > 0) thread.retire();
    }
    if (this.#threads.size > 0) return;
    clearInterval(this.#idleTimer);
    this.#idleTimer = undefined;
  }

  /** Those that take calls, or will. */
  #current(): Thread[] {
    return [...this.#threads].filter(({ state }) => state === 'ready' || state === 'starting');
  }
}
