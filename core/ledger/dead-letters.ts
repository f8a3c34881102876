import { MillraceError } from '../contracts/errors.ts';
import type {
  DeadLetter,
  DeadLetterFilter,
  DeadLetterPage,
  DeadLetters,
  NewMessage,
  ReplayOptions,
} from '../contracts/queue.ts';
import type { Bodies } from './bodies.ts';
import { packMessage, recordOf, unpackEnvelope, unpackMessage } from './packing.ts';
import { placeholder } from './record-reader.ts';
import type { Letter } from './records.ts';
import type { Replica } from './replica.ts';
import type { Writer } from './writer.ts';

/** What the letters need of the queue that they belong to. */
interface Owner {
  readonly replica: Replica;
  readonly bodies: Bodies;
  readonly writer: Writer;
  /** Resolves when what is due by now has happened; rejects when the queue has stopped. */
  current(): Promise<void>;
}

/** What was given up, read from this gateway's copy and changed by commands. */
export class LedgerDeadLetters implements DeadLetters {
  readonly #owner: Owner;

  constructor(owner: Owner) {
    this.#owner = owner;
  }

  async list(filter: DeadLetterFilter, limit: number, cursor?: string): Promise<DeadLetterPage> {
    await this.#owner.current();
    const { letters } = this.#owner.replica.state.messages;
    const { items, more } = letters.list(filter, limit, cursor === undefined ? Infinity : Number(cursor));
    const last = items.at(-1);
    return {
      items: await Promise.all(items.map((letter) => this.#view(letter))),
      cursor: last && more ? String(last.number) : undefined,
    };
  }

  async get(id: string): Promise<DeadLetter | undefined> {
    const letter = await this.#letter(id);
    return letter && this.#view(letter);
  }

  async body(id: string): Promise<Uint8Array | undefined> {
    const letter = await this.#letter(id);
    return letter && (await this.#message(letter)).body;
  }

  async replay(id: string, options: ReplayOptions): Promise<boolean> {
    const letter = await this.#letter(id);
    // Without a letter only the state can tell whether that very replay was made already.
    const message = letter ? edited(await this.#message(letter), options) : undefined;
    for (;;) {
      const [ref] = message ? await this.#owner.bodies.put([packMessage(message)]) : [];
      const record = message && ref ? recordOf(message, ref) : nameOnly(options.id);
      const answer = await this.#owner.writer.submit({ do: 'replay', id, record });
      if (answer === 'lost') continue;
      if (answer !== 'conflict') return answer;
      throw new MillraceError('request.conflict', `the id ${options.id} already belongs to another invocation`);
    }
  }

  async purge(filter: DeadLetterFilter & { readonly id?: string | undefined }): Promise<number> {
    await this.#owner.current();
    return this.#owner.writer.submit({ do: 'purge', filter });
  }

  async #letter(id: string): Promise<Letter | undefined> {
    await this.#owner.current();
    const letter = this.#owner.replica.state.messages.letters.get(id);
    if (letter) return letter;
    // It may have died on another gateway a moment ago: what happened before this is here when this is.
    await this.#owner.writer.submit({ do: 'tick' });
    return this.#owner.replica.state.messages.letters.get(id);
  }

  async #view(letter: Letter): Promise<DeadLetter> {
    const { record, ref, reason, attempt, errors, diedAt } = letter;
    const bytes = await this.#owner.bodies.get(ref);
    // One whose bytes are gone must not hide the others.
    const envelope = (bytes && unpackEnvelope(record.id, bytes)) ?? placeholder(record, diedAt);
    return { id: record.id, lane: record.lane, reason, attempt, envelope, bodyBytes: record.bytes, errors, diedAt };
  }

  async #message({ record, ref }: Letter): Promise<NewMessage> {
    const bytes = await this.#owner.bodies.get(ref);
    const message = bytes && unpackMessage(record, bytes);
    if (message) return message;
    throw new MillraceError('queue.unavailable', `the dead letter ${record.id} is not on the broker any more`);
  }
}

function edited(message: NewMessage, { id, to, headers, body }: ReplayOptions): NewMessage {
  const { dedupKey: _key, dedupWindowMs: _window, delayMs: _delay, ...rest } = message;
  const kept = Object.entries({ ...message.envelope.headers, ...headers }).filter(([, value]) => value !== null);
  return {
    ...rest,
    id,
    lane: to ?? message.lane,
    body: body ?? message.body,
    envelope: {
      ...message.envelope,
      headers: Object.fromEntries(kept) as NewMessage['envelope']['headers'],
      replayOf: message.id,
    },
  };
}

/** A record that the state only compares the id of, since there is no letter. */
function nameOnly(id: string): ReturnType<typeof recordOf> {
  return { id, lane: '', callId: '', ref: [0, 0], bytes: 0, priority: 0, maxAttempts: 1, resultTtlMs: 0 };
}
