import { Readable } from 'node:stream';
import { MessageChannel, receiveMessageOnPort, Worker, type MessagePort } from 'node:worker_threads';
import type { Clock } from '../../../core/contracts/clock.ts';
import { isLinked } from '../../../core/kit/ring.ts';
import type { Attempt, AttemptThread } from './attempt.ts';
import { Claims } from './claims.ts';
import { fromThread, type FromThread, headerList, type ThreadStart, toThread, type ToThread } from './protocol.ts';
import { Running } from './running.ts';
import type { PoolSettings } from './settings.ts';

/** What a thread tells the pool that made it. */
export interface ThreadOwner {
  readonly clock: Clock;
  /** The module has been imported: it takes calls. */
  ready(thread: Thread): void;
  /** It was busy, and could take another call. */
  free(thread: Thread): void;
  /** It became quick, or is so no more. */
  paceChanged(): void;
  /** Calls that it was given and has not begun: they are the owner's again. */
  takenBack(attempts: readonly Attempt[]): void;
  /** It has ended. `importError` is set if it never became ready. */
  gone(thread: Thread, importError: string | undefined): void;
  log(thread: Thread, text: string, callId: string | undefined): void;
}

// The same file beside this one, whether it is run as it is or was built.
const runtime = new URL(`./runtime/main.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url);

/** Calls that a thread may be given beyond those that it may run: so that it need not wait for the host after each. */
export const maxAhead = 31;
/** Only while its calls take less than this on average, ms: a long one would hold up those behind it. */
const quickMs = 0.25;
/** What is assumed of calls before any were seen, and after one took too long, ms. */
const slowMs = 10;

/** One worker thread with one function's module in it, and the attempts that run there. */
export class Thread implements AttemptThread {
  readonly settings: PoolSettings;
  readonly attempts = new Running();
  state: 'starting' | 'ready' | 'retired' | 'gone' = 'starting';
  /** Takes a Request; else a body must be whole. */
  fetches = false;
  /** Monotonic ms: since when nothing runs in it. */
  idleSince = 0;
  /** Resolves when it has ended, for whatever reason. */
  readonly ended: Promise<void>;
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #claims = new Claims();
  readonly #posted = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  readonly #owner: ThreadOwner;
  readonly #startTimer: NodeJS.Timeout;
  #waking = false;
  #sequence = 0;
  /** Moving average of the time from one end of a call to the next while it is busy, ms. */
  #paceMs = slowMs;
  /** Monotonic ms: when a call ended, or the first was begun. */
  #progressAt = 0;
  #error: string | undefined;
  #tellEnded: () => void = () => undefined;

  constructor(settings: PoolSettings, env: Readonly<Record<string, string>>, owner: ThreadOwner) {
    this.settings = settings;
    this.#owner = owner;
    this.ended = new Promise((resolve) => {
      this.#tellEnded = resolve;
    });
    this.#worker = new Worker(runtime, {
      env,
      argv: [],
      execArgv: [],
      stdin: false,
      stdout: true,
      stderr: true,
      name: settings.function.slice(0, 60),
      resourceLimits: { maxOldGenerationSizeMb: Math.max(8, Math.round(settings.memory / 2 ** 20)) },
    });
    // A port of our own: `parentPort` is the function's to use, and what it says there goes nowhere.
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    const start: ThreadStart = {
      port: port2,
      posted: this.#posted,
      claims: this.#claims.cells,
      perThread: settings.perThread,
      module: settings.moduleUrl,
      function: settings.function,
      maxBody: settings.maxBody,
    };
    this.#worker.postMessage(start, [port2]);
    port1.on('message', (message: FromThread) => this.#receive(message));
    this.#worker.on('error', (error) => {
      this.#error ??= errorText(error);
    });
    this.#worker.on('exit', (code) => this.#exited(code));
    // What reaches these comes from outside of JavaScript, such as V8's own last words.
    for (const stream of [this.#worker.stdout, this.#worker.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => owner.log(this, text.trimEnd(), undefined));
    }
    this.#startTimer = setTimeout(() => this.kill('did not finish being imported in time'), settings.startMs);
  }

  get id(): number {
    return this.#worker.threadId;
  }

  get hasRoom(): boolean {
    return this.state === 'ready' && this.attempts.size < this.settings.perThread;
  }

  /** Its calls are so short that it may be given some ahead. */
  get isQuick(): boolean {
    return this.state === 'ready' && this.#paceMs < quickMs;
  }

  /** Has calls that it need not have begun. */
  get isAhead(): boolean {
    return this.attempts.size > this.settings.perThread;
  }

  /** How long no call in it has ended, ms. */
  stalledMs(now: number): number {
    return now - this.#progressAt;
  }

  run(attempt: Attempt, wallDeadline: number): void {
    if (this.attempts.size === 0) this.#progressAt = this.#owner.clock.monotonic();
    this.#sequence = (this.#sequence % 0x3fff_ffff) + 1;
    const number = this.#sequence;
    this.attempts.add(attempt);
    this.#claims.offer(number);
    attempt.begin(this, number, wallDeadline, headerList(attempt.call.invocation.headers));
  }

  /** Gives up the calls that it has not begun, and is not taken to be quick any more. */
  giveUpAhead(): void {
    this.#pace(slowMs);
    // A body that streams has begun to go into this thread, and cannot go into another.
    const attempts = this.attempts.all.filter(
      ({ body, number }) => !(body instanceof Readable) && this.#claims.takeBack(number),
    );
    for (const attempt of attempts) {
      this.attempts.delete(attempt);
      attempt.takenBack();
    }
    if (attempts.length > 0) this.#owner.takenBack(attempts);
  }

  post(message: ToThread): void {
    this.#port.postMessage(message, []);
    Atomics.add(this.#posted, 0, 1);
    if (this.#waking) return;
    this.#waking = true;
    setImmediate(this.#wake);
  }

  /** Once a turn of the event loop, so that a thread is woken for all that the turn brought and not for each of it. */
  readonly #wake = (): void => {
    this.#waking = false;
    Atomics.notify(this.#posted, 0);
  };

  /**
   * After the grace the thread is ended, unless others run in it and its event loop turns: then nothing runs away, and
   * they may finish, but it takes no more.
   */
  abandon(attempt: Attempt, message: string, timeout: boolean): void {
    if (this.#claims.takeBack(attempt.number)) {
      this.attempts.delete(attempt);
      attempt.close();
      return;
    }
    this.post([toThread.abort, attempt.number, message, timeout]);
    attempt.graceTimer = setTimeout(() => {
      if (!isLinked(attempt)) return;
      const others = this.attempts.all.some((other) => !other.abandoned);
      if (others && attempt.acknowledged) {
        this.#done(attempt);
        this.retire();
      } else this.kill('was ended: a call in it did not stop within its grace');
    }, this.settings.graceMs);
  }

  /** Takes no more calls, and ends when those in it have. */
  retire(): void {
    if (this.state === 'gone') return;
    this.state = 'retired';
    if (this.attempts.size === 0) this.kill('was not needed any more');
  }

  /** Ends it now. What runs in it crashes. */
  kill(reason: string): void {
    this.#error ??= reason;
    void this.#worker.terminate();
  }

  #receive(message: FromThread): void {
    switch (message[0]) {
      case fromThread.ready:
        clearTimeout(this.#startTimer);
        this.fetches = message[2];
        if (this.state !== 'starting') return;
        this.state = 'ready';
        this.#owner.ready(this);
        return;
      case fromThread.failed:
        this.kill(message[2]);
        return;
      case fromThread.log:
        this.#owner.log(this, message[3], message[2]);
        return;
      default:
        this.#receiveOf(message);
    }
  }

  #receiveOf(message: Exclude<FromThread, readonly [0 | 1 | 11, ...unknown[]]>): void {
    const attempt = this.attempts.get(message[1]);
    if (!attempt) return;
    switch (message[0]) {
      case fromThread.answer:
        this.#done(attempt);
        attempt.answer(message[2], message[3], message[4]);
        break;
      case fromThread.thrown:
        this.#done(attempt);
        attempt.fail(message[2] === 'limit.body' ? 'refused' : undefined, message[2], message[3]);
        break;
      case fromThread.head:
        attempt.head(message[2], message[3]);
        return;
      case fromThread.chunk:
        attempt.chunk(message[2]);
        return;
      case fromThread.end:
        this.#done(attempt);
        attempt.end();
        break;
      case fromThread.broken:
        this.#done(attempt);
        attempt.fail(undefined, 'function.failed', message[2]);
        break;
      case fromThread.credit:
        attempt.credit(message[2]);
        return;
      case fromThread.unread:
        attempt.unread();
        return;
      case fromThread.aborting:
        attempt.acknowledged = true;
        return;
    }
    if (this.state === 'retired') this.retire();
    else this.#owner.free(this);
  }

  #done(attempt: Attempt): void {
    this.attempts.delete(attempt);
    attempt.close();
    const now = this.#owner.clock.monotonic();
    this.#pace(this.#paceMs + (now - this.#progressAt - this.#paceMs) / 10);
    this.#progressAt = now;
  }

  #pace(ms: number): void {
    const wasQuick = this.#paceMs < quickMs;
    this.#paceMs = ms;
    if (wasQuick !== ms < quickMs) this.#owner.paceChanged();
  }

  #exited(code: number): void {
    clearTimeout(this.#startTimer);
    // What it had sent before its end still counts.
    for (let next = receiveMessageOnPort(this.#port); next; next = receiveMessageOnPort(this.#port)) {
      this.#receive(next.message as FromThread);
    }
    const wasStarting = this.state === 'starting';
    this.state = 'gone';
    this.#port.close();
    this.giveUpAhead();
    const how = this.#error ?? `ended itself with code ${code}`;
    for (const attempt of this.attempts.all) {
      attempt.close();
      attempt.fail('crash', 'function.crashed', `the function's thread ${how}`);
      this.attempts.delete(attempt);
    }
    this.#owner.gone(this, wasStarting ? how : undefined);
    this.#tellEnded();
  }
}

function errorText(error: unknown): string {
  const isError = error instanceof Error;
  if (isError && 'code' in error && error.code === 'ERR_WORKER_OUT_OF_MEMORY') return 'ran out of memory';
  return isError ? `crashed: ${error.message}` : `crashed: ${String(error)}`;
}
