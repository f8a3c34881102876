import { Readable } from 'node:stream';
import type { Clock } from '../../../core/contracts/clock.ts';
import { messageOf } from '../../../core/contracts/errors.ts';
import type { Outcome } from '../../../core/contracts/invocation.ts';
import type { Call, FunctionStatus, WorkQueueStats } from '../../../core/contracts/provider.ts';
import { Attempt, type WaitingRoom } from './attempt.ts';
import { failed } from '../../../core/kit/outcome.ts';
import { collect } from './send-body.ts';
import { threadEnv, type PoolSettings } from './settings.ts';
import { maxAhead, Thread, type ThreadOwner } from './thread.ts';
import { Waiting } from './waiting.ts';

/** Streams that say they are no longer than this are sent in one message, once they have come. */
const smallBody = 64 * 1024;
/** A thread that ends no call for so long gives up those that it was given ahead, ms. */
const stallMs = 20;
const firstRetryMs = 1000;
const lastRetryMs = 60_000;

export interface PoolOwner {
  readonly clock: Clock;
  report(status: FunctionStatus): void;
  log(instance: string, text: string, callId: string | undefined): void;
}

/**
 * The threads of one function. A call goes to a thread with room; if there is none, one is started while there may be
 * more, and the call waits its turn. A thread that ends is replaced when the next call needs it.
 */
export class Pool implements WaitingRoom, ThreadOwner {
  settings: PoolSettings;
  readonly #owner: PoolOwner;
  /** Those of the present generation: new calls go here. */
  readonly #threads = new Set<Thread>();
  /** Those that only finish what they began. */
  readonly #retired = new Set<Thread>();
  readonly #waiting = new Waiting();
  #collecting = 0;
  /** Why the module cannot be imported. */
  #failure: string | undefined;
  #retryMs = firstRetryMs;
  #retryTimer: NodeJS.Timeout | undefined;
  #fillTimer: NodeJS.Timeout | undefined;
  #idleTimer: NodeJS.Timeout | undefined;
  #stallTimer: NodeJS.Timeout | undefined;
  #closed = false;
  #empty: Promise<void> | undefined;
  #onEmpty: (() => void) | undefined;
  #reported: FunctionStatus | undefined;

  constructor(settings: PoolSettings, owner: PoolOwner) {
    this.settings = settings;
    this.#owner = owner;
  }

  get clock(): Clock {
    return this.#owner.clock;
  }

  /** Reports the function and starts the threads that it always has. */
  start(): void {
    this.#report();
    this.#fill();
  }

  invoke(call: Call): Promise<Outcome> {
    const { clock } = this.#owner;
    const startedAt = clock.monotonic();
    if (this.#failure !== undefined) {
      return Promise.resolve(failed('crash', { code: 'function.crashed', message: this.#failure }, 0));
    }
    return new Promise((resolve) => {
      const attempt = new Attempt(call, clock, startedAt, this, resolve);
      call.watch(attempt);
      if (attempt.answered) return; // It had been aborted before it came here.
      if (attempt.body instanceof Readable && isSmall(call)) void this.#collect(attempt, attempt.body);
      else this.#place(attempt);
    });
  }

  /** Every call that follows runs on new threads: the module was changed, or the function deployed anew. */
  reload(settings: PoolSettings): void {
    this.settings = settings;
    const wasFailed = this.#failure !== undefined;
    this.#failure = undefined;
    this.#retryMs = firstRetryMs;
    clearTimeout(this.#retryTimer);
    for (const thread of this.#threads) {
      thread.giveUpAhead();
      this.#retire(thread);
    }
    // After a failure nobody calls until it is known that the module is sound.
    if (wasFailed) this.#spawn();
    this.#fill();
    this.#place();
    this.#report();
  }

  /** Resolves when everything that was accepted has ended. */
  close(): Promise<void> {
    if (this.#empty) return this.#empty;
    this.#closed = true;
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#fillTimer);
    clearInterval(this.#idleTimer);
    this.#empty = new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
    this.#retireIfUnused();
    return this.#empty;
  }

  /** Ends everything now. */
  async kill(): Promise<void> {
    for (const thread of this.#threads) thread.giveUpAhead();
    for (let attempt = this.#waiting.take(); attempt; attempt = this.#waiting.take()) {
      attempt.fail('cancelled', 'gateway.stopping', 'the gateway stopped before the function had answered');
    }
    const threads = [...this.#threads, ...this.#retired];
    for (const thread of threads) thread.kill('was ended: the gateway is stopping');
    await Promise.all(threads.map(({ ended }) => ended));
  }

  stats(): WorkQueueStats {
    const oldest = this.#waiting.oldest();
    let running = 0;
    for (const thread of this.#threads) running += thread.attempts.size;
    for (const thread of this.#retired) running += thread.attempts.size;
    return {
      name: this.settings.function,
      waiting: this.#waiting.length,
      running,
      oldestAgeMs: oldest ? this.#owner.clock.monotonic() - oldest.startedAt : 0,
    };
  }

  left(attempt: Attempt): void {
    if (attempt.queued) this.#waiting.left();
    this.#retireIfUnused();
  }

  ready(thread: Thread): void {
    thread.idleSince = this.#owner.clock.monotonic();
    this.#retryMs = firstRetryMs;
    this.#failure = undefined;
    this.#report();
    this.#place();
    this.#watchIdle();
  }

  free(thread: Thread): void {
    if (this.#waiting.length > 0) this.#place();
    else if (this.#closed) this.#retireIfUnused();
    else if (thread.attempts.size === 0) thread.idleSince = this.#owner.clock.monotonic();
  }

  paceChanged(): void {
    this.#report();
  }

  takenBack(attempts: readonly Attempt[]): void {
    for (const attempt of attempts) attempt.queued = true;
    this.#waiting.putBack(attempts);
    // A turn later: the thread that gave them up is in the middle of something.
    setImmediate(() => this.#place());
  }

  gone(thread: Thread, importError: string | undefined): void {
    const wasRetired = this.#retired.delete(thread);
    this.#threads.delete(thread);
    if (importError !== undefined && !wasRetired && ![...this.#threads].some(({ state }) => state === 'ready')) {
      this.#fail(importError);
    }
    // Not at once: a module that ends its threads by itself would keep a core busy with starting them.
    if (!wasRetired && !this.#closed) this.#fillTimer ??= setTimeout(() => this.#fill(), firstRetryMs).unref();
    this.#place();
    this.#retireIfUnused();
    this.#report();
  }

  log(thread: Thread, text: string, callId: string | undefined): void {
    this.#owner.log(`${this.settings.function}-${thread.id}`, text, callId);
  }

  async #collect(attempt: Attempt, body: Readable): Promise<void> {
    this.#collecting += 1;
    try {
      attempt.body = await collect(body, smallBody);
    } catch (error) {
      attempt.fail('cancelled', 'invocation.client-gone', `the body broke off: ${messageOf(error)}`);
    }
    this.#collecting -= 1;
    if (attempt.answered) this.#retireIfUnused();
    else this.#place(attempt);
  }

  /** Gives what waits to the threads with room, the newcomer last. */
  #place(newcomer?: Attempt): void {
    if (newcomer) {
      const thread = this.#waiting.length === 0 ? this.#threadFor(newcomer) : undefined;
      if (thread) {
        this.#run(thread, newcomer);
        return;
      }
      newcomer.queued = true;
      this.#waiting.push(newcomer);
    }
    while (this.#waiting.length > 0) {
      const next = this.#waiting.oldest();
      const thread = next && this.#threadFor(next);
      if (!thread) break;
      const attempt = this.#waiting.take();
      if (attempt) this.#run(thread, attempt);
    }
    this.#spawnForWaiting();
  }

  #run(thread: Thread, attempt: Attempt): void {
    attempt.queued = false;
    const { call } = attempt;
    const { settings } = thread;
    if (!thread.fetches && declaredBytes(attempt) > settings.maxBody) {
      const message = `the body is larger than the ${settings.maxBody} bytes that the function takes`;
      attempt.fail('refused', 'limit.body', message);
      return;
    }
    const { clock } = this.#owner;
    thread.run(attempt, Math.round(clock.now() + call.deadline - clock.monotonic()));
  }

  /**
   * The thread with room and the fewest calls; the first of them, so that the others may fall idle and end. When there
   * are as many threads as may be and all are busy, a quick one takes the call ahead, unless its body still streams:
   * that could not be given to another thread.
   */
  #threadFor(attempt: Attempt): Thread | undefined {
    let roomy: Thread | undefined;
    let ahead: Thread | undefined;
    for (const thread of this.#threads) {
      if (thread.hasRoom) {
        if (thread.attempts.size === 0) return thread;
        if (!roomy || thread.attempts.size < roomy.attempts.size) roomy = thread;
      } else if (thread.isQuick && (!ahead || thread.attempts.size < ahead.attempts.size)) ahead = thread;
    }
    if (roomy || !ahead || this.#threads.size < this.settings.max) return roomy;
    if (ahead.attempts.size >= ahead.settings.perThread + maxAhead || attempt.body instanceof Readable)
      return undefined;
    this.#watchStalls();
    return ahead;
  }

  #watchStalls(): void {
    if (!this.#stallTimer) this.#stallTimer = setTimeout(() => this.#endStalls(), stallMs).unref();
  }

  /** A call that takes long must not hold up those that were given to its thread ahead. */
  #endStalls(): void {
    this.#stallTimer = undefined;
    const now = this.#owner.clock.monotonic();
    for (const thread of this.#threads) {
      if (!thread.isAhead) continue;
      if (thread.stalledMs(now) >= stallMs) thread.giveUpAhead();
      else this.#watchStalls();
    }
  }

  #spawnForWaiting(): void {
    if (this.#waiting.length === 0 || this.#failure !== undefined) return;
    let coming = 0;
    for (const thread of this.#threads) if (thread.state === 'starting') coming += this.settings.perThread;
    while (coming < this.#waiting.length && this.#threads.size < this.settings.max) {
      this.#spawn();
      coming += this.settings.perThread;
    }
  }

  #fill(): void {
    clearTimeout(this.#fillTimer);
    this.#fillTimer = undefined;
    if (this.#closed || this.#failure !== undefined) return;
    while (this.#threads.size < this.settings.min) this.#spawn();
  }

  #spawn(): void {
    this.#threads.add(new Thread(this.settings, threadEnv(this.settings.env), this));
  }

  #retire(thread: Thread): void {
    this.#threads.delete(thread);
    this.#retired.add(thread);
    thread.retire();
  }

  /** The module cannot be imported: nobody need wait for it. It may be for a passing reason, so it is tried again. */
  #fail(reason: string): void {
    this.#failure = reason;
    for (let attempt = this.#waiting.take(); attempt; attempt = this.#waiting.take()) {
      attempt.fail('crash', 'function.crashed', reason);
    }
    if (this.#closed) return;
    this.#retryTimer = setTimeout(() => this.#spawn(), this.#retryMs).unref();
    this.#retryMs = Math.min(this.#retryMs * 2, lastRetryMs);
  }

  /** Threads that nothing has run in for a while are ended, down to the least number. One timer for all of them. */
  #watchIdle(): void {
    if (this.#idleTimer || this.#closed) return;
    this.#idleTimer = setInterval(
      () => {
        const now = this.#owner.clock.monotonic();
        for (const thread of this.#threads) {
          if (this.#threads.size <= this.settings.min) break;
          if (thread.state !== 'ready' || thread.attempts.size > 0) continue;
          if (now - thread.idleSince >= this.settings.idleMs) this.#retire(thread);
        }
        if (this.#threads.size > 0) return;
        clearInterval(this.#idleTimer);
        this.#idleTimer = undefined;
      },
      Math.max(50, this.settings.idleMs / 4),
    ).unref();
  }

  /** After `close`: threads end once nothing is left that could need them. */
  #retireIfUnused(): void {
    if (!this.#closed || this.#collecting > 0 || this.#waiting.length > 0) return;
    for (const thread of this.#threads) this.#retire(thread);
    if (this.#retired.size === 0) this.#onEmpty?.();
  }

  #report(): void {
    if (this.#closed) return;
    let ready = 0;
    let ahead = 0;
    for (const thread of this.#threads) {
      if (thread.state === 'ready') ready += 1;
      if (thread.isQuick) ahead += maxAhead;
    }
    const status = statusOf(this.settings, { threads: this.#threads.size, ready, ahead, failure: this.#failure });
    const before = this.#reported;
    if (
      before?.state === status.state &&
      before.replicas === status.replicas &&
      before.availableReplicas === status.availableReplicas &&
      before.capacity === status.capacity &&
      before.message === status.message
    ) {
      return;
    }
    this.#reported = status;
    this.#owner.report(status);
  }
}

interface PoolState {
  readonly threads: number;
  readonly ready: number;
  /** Calls that threads take beside those that they run. */
  readonly ahead: number;
  readonly failure: string | undefined;
}

const unused: PoolState = { threads: 0, ready: 0, ahead: 0, failure: undefined };

/** What a pool says of its function; without its state, as one that nobody has called yet. */
export function statusOf(
  { function: name, max, perThread }: PoolSettings,
  { threads, ready, ahead, failure } = unused,
): FunctionStatus {
  const failed = failure !== undefined;
  return {
    name,
    state: failed ? 'failed' : 'ready',
    // A call starts the thread that it needs within milliseconds, so there is always one to count on.
    replicas: Math.max(1, threads),
    availableReplicas: failed ? 0 : Math.max(1, ready),
    // Only full threads take calls ahead, so it counts once there are as many as may be.
    capacity: max * perThread + (threads < max ? 0 : ahead),
    message: failure,
  };
}

function isSmall({ invocation }: Call): boolean {
  const declared = Number(invocation.headers['content-length'] ?? Number.NaN);
  return declared <= smallBody;
}

function declaredBytes({ body, call }: Attempt): number {
  if (body === null) return 0;
  return body instanceof Uint8Array ? body.byteLength : Number(call.invocation.headers['content-length'] ?? 0);
}
