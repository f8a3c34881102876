import type { Logger } from 'pino';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { JournalReader } from '../../../core/contracts/journal.ts';
import type { Kind } from './entry.ts';

/** Someone who reads a journal: what it hands out to them, and up to where. */
export class Follower {
  next: number;
  /** It is at the end, and given what comes there. Otherwise it reads on its own. */
  attached = false;
  readonly #reader: JournalReader;
  readonly #signal: AbortSignal;
  readonly #logger: Logger;
  #over = false;

  constructor(from: number, reader: JournalReader, signal: AbortSignal, logger: Logger) {
    this.next = from;
    this.#reader = reader;
    this.#signal = signal;
    this.#logger = logger;
  }

  get over(): boolean {
    return this.#over || this.#signal.aborted;
  }

  /** What is at that position; its kind is undefined when it is not one of ours. */
  hear(position: number, kind: Kind | undefined, data: Uint8Array): void {
    if (this.over || position < this.next || kind === 'seal') return;
    if (kind === 'mark') {
      if (position === this.next) this.next++;
      return;
    }
    this.#guard(position, () => {
      if (position > this.next) this.#reader.gap(position);
      this.next = position + 1;
      this.#reader.entry({ position, at: undefined, data });
    });
  }

  /** What comes before this was forgotten. */
  skipTo(position: number): void {
    if (this.over || position <= this.next) return;
    this.next = position;
    this.#guard(position, () => this.#reader.gap(position));
  }

  lose(error: Error): void {
    if (this.over) return;
    this.#over = true;
    const message = `${messageOf(error)}; the gateway must be started anew`;
    this.#reader.lost(new MillraceError('queue.unavailable', message, { cause: error }));
  }

  #guard(position: number, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#logger.error({ err: error, position }, 'an entry cannot be read');
      this.lose(new Error(`entry ${position} cannot be read: ${messageOf(error)}`));
    }
  }
}
