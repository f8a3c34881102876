import { MillraceError } from '../../../core/contracts/errors.ts';
import type { DeadReason } from '../../../core/contracts/invocation.ts';
import type {
  DeadLetter,
  DeadLetterFilter,
  DeadLetterPage,
  DeadLetters,
  Envelope,
  MessageRecord,
  NewMessage,
  ReplayOptions,
} from '../../../core/contracts/queue.ts';

interface Kept {
  /** Grows with each letter: pages go by it, so that a letter taken out in between moves no other. */
  readonly sequence: number;
  readonly message: NewMessage;
  readonly letter: DeadLetter;
}

/** What the letters need of the queue that they belong to. */
interface Owner {
  /** Does what is due by now, which may make letters; throws when the queue has stopped. */
  open(): void;
  accept(message: NewMessage): void;
  /** Of the message of that id, if one is known. */
  envelopeOf(id: string): Envelope | undefined;
}

export class MemoryDeadLetters implements DeadLetters {
  /** In the order of dying. */
  readonly #kept = new Map<string, Kept>();
  readonly #owner: Owner;
  #sequence = 0;

  constructor(owner: Owner) {
    this.#owner = owner;
  }

  add(message: NewMessage, record: MessageRecord, reason: DeadReason): void {
    const letter: DeadLetter = {
      id: message.id,
      lane: message.lane,
      reason,
      attempt: record.attempt,
      envelope: message.envelope,
      bodyBytes: message.body.byteLength,
      errors: record.errors,
      diedAt: record.finishedAt ?? 0,
    };
    this.#kept.set(message.id, { sequence: this.#sequence++, message, letter });
  }

  count(lane: string): number {
    return this.#kept
      .values()
      .filter(({ letter }) => letter.lane === lane)
      .toArray().length;
  }

  async list(filter: DeadLetterFilter, limit: number, cursor?: string): Promise<DeadLetterPage> {
    this.#owner.open();
    const before = cursor === undefined ? Infinity : Number(cursor);
    const found = [...this.#kept.values()]
      .toReversed()
      .filter(({ letter, sequence }) => sequence < before && fits(letter, filter));
    const page = found.slice(0, limit);
    const last = page.at(-1);
    return {
      items: page.map(({ letter }) => letter),
      cursor: last && found.length > limit ? String(last.sequence) : undefined,
    };
  }

  async get(id: string): Promise<DeadLetter | undefined> {
    this.#owner.open();
    return this.#kept.get(id)?.letter;
  }

  async body(id: string): Promise<Uint8Array | undefined> {
    this.#owner.open();
    const kept = this.#kept.get(id);
    return kept && new Uint8Array(kept.message.body);
  }

  async replay(id: string, { to, headers, body, id: newId }: ReplayOptions): Promise<boolean> {
    this.#owner.open();
    const existing = this.#owner.envelopeOf(newId);
    if (existing) {
      if (existing.replayOf === id) return true;
      throw new MillraceError('request.conflict', `the id ${newId} already belongs to another invocation`);
    }
    const kept = this.#kept.get(id);
    if (!kept) return false;
    const { message } = kept;
    this.#kept.delete(id);
    const edited = Object.entries({ ...message.envelope.headers, ...headers }).filter(([, value]) => value !== null);
    const { dedupKey: _key, dedupWindowMs: _window, delayMs: _delay, ...rest } = message;
    this.#owner.accept({
      ...rest,
      id: newId,
      lane: to ?? message.lane,
      body: body ?? message.body,
      envelope: {
        ...message.envelope,
        headers: Object.fromEntries(edited) as NewMessage['envelope']['headers'],
        replayOf: id,
      },
    });
    return true;
  }

  async purge(filter: DeadLetterFilter & { readonly id?: string | undefined }): Promise<number> {
    this.#owner.open();
    let purged = 0;
    for (const [id, { letter }] of this.#kept) {
      if ((filter.id !== undefined && filter.id !== id) || !fits(letter, filter)) continue;
      this.#kept.delete(id);
      purged++;
    }
    return purged;
  }
}

function fits({ lane, reason }: DeadLetter, filter: DeadLetterFilter): boolean {
  return (
    (filter.lane === undefined || filter.lane === lane) && (filter.reason === undefined || filter.reason === reason)
  );
}
