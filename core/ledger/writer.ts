import { setImmediate as turn } from 'node:timers/promises';
import { type Clock, sleep } from '../contracts/clock.ts';
import { messageOf, MillraceError } from '../contracts/errors.ts';
import type { Journal } from '../contracts/journal.ts';
import { failpoint } from '../delivery/failpoint.ts';
import type { Answer, Answers, Command } from './records.ts';

export interface WriterOptions {
  readonly session: string;
  readonly journal: Journal;
  readonly clock: Clock;
  /** What the entries say of when they were written. */
  readonly time: () => number;
  /** So long is an entry sent again whose fate is not known, and its answer awaited. */
  readonly patienceMs: number;
}

interface Asked {
  readonly text: string;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
}

/** What goes into one entry at most; more waits for the next. */
const entryBytes = 256 * 1024;
/** Commands that wait may have so many bytes together; then the broker is too slow for what is asked of it. */
const waitingBytes = 64 * 2 ** 20;
const resendPauseMs = 100;

/**
 * Appends commands, as many in one entry as were asked while the entry before was under way, and hands out their answers
 * when the entry comes back. One entry is under way at a time, so that they land in the order in which they were asked.
 */
export class Writer {
  readonly session: string;
  readonly #options: WriterOptions;
  #waiting: Asked[] = [];
  #waitingBytes = 0;
  #number = 0;
  /** Entries that were sent and have not come back, by their number. */
  readonly #sent = new Map<number, { readonly asked: readonly Asked[]; readonly until: number }>();
  #pumping = false;
  /** An entry is being sent again: the broker is away, as far as is known. */
  #stuck = false;
  #closed: MillraceError | undefined;

  constructor(options: WriterOptions) {
    this.session = options.session;
    this.#options = options;
  }

  /** Resolves with what the command came to, once it is durable. Rejects at once while the broker is away. */
  submit<Kind extends Command['do']>(command: Extract<Command, { do: Kind }>): Promise<Answers[Kind]> {
    return new Promise<Answer>((resolve, reject) => {
      const text = JSON.stringify(command);
      const refusal = this.#closed ?? this.#refusal(text);
      if (refusal) {
        reject(refusal);
        return;
      }
      this.#waiting.push({ text, resolve, reject });
      this.#waitingBytes += text.length;
      if (!this.#pumping) void this.#pump();
    }) as Promise<Answers[Kind]>;
  }

  /** What an entry of this session came to; undefined when it was void. */
  applied(number: number, answers: readonly Answer[] | undefined): boolean {
    const sent = this.#sent.get(number);
    if (!sent || !answers) return false;
    this.#sent.delete(number);
    this.#stuck = false;
    for (const [index, { resolve }] of sent.asked.entries()) resolve(answers[index] as Answer);
    return true;
  }

  /** Nobody will be told an answer any more. */
  close(error: MillraceError): void {
    this.#closed ??= error;
    for (const { reject } of this.#waiting.splice(0)) reject(error);
    for (const { asked } of this.#sent.values()) for (const { reject } of asked) reject(error);
    this.#sent.clear();
  }

  /** Gives up those whose entry was taken and has not come back for too long. */
  sweep(): void {
    const now = this.#options.clock.monotonic();
    for (const [number, { asked, until }] of this.#sent) {
      if (until > now) continue;
      this.#sent.delete(number);
      for (const { reject } of asked) reject(unavailable('what was asked has not come back from the broker'));
    }
  }

  #refusal(text: string): MillraceError | undefined {
    if (this.#stuck || !this.#options.journal.available) return unavailable('the broker cannot be reached');
    if (this.#waitingBytes + text.length > waitingBytes) return unavailable('the broker is too slow for what is asked');
    if (Buffer.byteLength(text) + 200 > this.#options.journal.maxBytes) {
      return new MillraceError(
        'request.invalid',
        `what is asked is larger than ${this.#options.journal.maxBytes} bytes`,
      );
    }
    return undefined;
  }

  async #pump(): Promise<void> {
    this.#pumping = true;
    try {
      // What is asked in the same turn goes together: the verdicts of one answer, and the request for more work.
      await turn();
      while (this.#waiting.length > 0) await this.#send(this.#next());
    } finally {
      this.#pumping = false;
    }
  }

  #next(): readonly Asked[] {
    const limit = Math.min(entryBytes, this.#options.journal.maxBytes - 200);
    let bytes = 0;
    let count = 0;
    for (const { text } of this.#waiting) {
      bytes += Buffer.byteLength(text) + 1;
      if (count > 0 && bytes > limit) break;
      this.#waitingBytes -= text.length;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  async #send(asked: readonly Asked[]): Promise<void> {
    const number = ++this.#number;
    const { patienceMs, clock, journal } = this.#options;
    const until = clock.monotonic() + patienceMs;
    this.#sent.set(number, { asked, until });
    const commands = asked.map(({ text }) => text).join(',');
    const head = `{"session":${JSON.stringify(this.session)},"number":${number},"at":${Math.floor(this.#options.time())}`;
    const data = Buffer.from(`${head},"commands":[${commands}]}`);
    const deadline = performance.now() + patienceMs;
    while (!this.#closed) {
      try {
        failpoint('queue.before-commit');
        await journal.append(data);
        failpoint('queue.after-commit');
        break;
      } catch (error) {
        // It may have been taken: sent again it is void if it was, and if it came back by itself it needs no more.
        if (!this.#sent.has(number)) break;
        this.#stuck = true;
        if (performance.now() + resendPauseMs >= deadline) {
          this.#sent.delete(number);
          const refusal = unavailable(`the broker did not take what was asked: ${messageOf(error)}`, error);
          for (const { reject } of asked) reject(refusal);
          break;
        }
        for (const { reject } of this.#waiting.splice(0)) reject(unavailable(messageOf(error), error));
        this.#waitingBytes = 0;
        await sleep(resendPauseMs);
      }
    }
    this.#stuck = false;
  }
}

function unavailable(message: string, cause?: unknown): MillraceError {
  return new MillraceError('queue.unavailable', message, { cause, retryAfterSeconds: 1 });
}
