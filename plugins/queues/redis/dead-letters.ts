import { MillraceError } from '../../../core/contracts/errors.ts';
import type {
  DeadLetter,
  DeadLetterFilter,
  DeadLetterPage,
  DeadLetters,
  NewMessage,
  ReplayOptions,
} from '../../../core/contracts/queue.ts';
import { packMessage, textOf, unpackLetter, type PackedLetter } from './packing.ts';
import type { createScripts } from './scripts.ts';
import type { Server } from './server.ts';

type PackedItem = readonly [number: Buffer, ...PackedLetter];

/** The letters of a queue in Redis. Long lists are read in several steps, so that no script holds up the others. */
export class RedisDeadLetters implements DeadLetters {
  readonly #server: () => Server;
  readonly #scripts: ReturnType<typeof createScripts>;

  constructor(server: () => Server, scripts: ReturnType<typeof createScripts>) {
    this.#server = server;
    this.#scripts = scripts;
  }

  async list({ lane, reason }: DeadLetterFilter, limit: number, cursor?: string): Promise<DeadLetterPage> {
    const found: PackedItem[] = [];
    // One more than asked for tells whether there is another page.
    for (let below: string | undefined = before(cursor); below !== undefined && found.length <= limit;) {
      const [items, last] = (await this.#server().run(this.#scripts.letters, [
        lane ?? '',
        reason ?? '',
        below,
        String(limit + 1 - found.length),
      ])) as [PackedItem[], Buffer];
      found.push(...items);
      below = last.length === 0 ? undefined : before(last.toString());
    }
    const page = found.slice(0, Math.max(0, limit));
    return {
      items: page.map(([, ...letter]) => unpackLetter(letter)),
      cursor: found.length > limit ? page.at(-1)?.[0].toString() : undefined,
    };
  }

  async get(id: string): Promise<DeadLetter | undefined> {
    const letter = await this.#letter(id);
    return letter && unpackLetter(letter);
  }

  async body(id: string): Promise<Uint8Array | undefined> {
    const body = (await this.#server().run(this.#scripts.body, [id])) as Buffer | null;
    return body ? new Uint8Array(body) : undefined;
  }

  async replay(id: string, { to, headers, body, id: newId }: ReplayOptions): Promise<boolean> {
    const letter = await this.#letter(id);
    // Without a letter it may have been replayed before, under this id: that is for the script to find out.
    const message = letter ? replayed(letter, { newId, to, headers, body }) : placeholder(newId);
    const [answer, text] = (await this.#server().run(this.#scripts.replay, [
      id,
      !letter ? '-' : body ? '1' : '0',
      ...packMessage(message),
    ])) as [number, Buffer?];
    if (answer !== 2 || !text) return answer === 1;
    if (textOf(text).envelope.replayOf === id) return true;
    throw new MillraceError('request.conflict', `the id ${newId} already belongs to another invocation`);
  }

  async purge({ lane, reason, id }: DeadLetterFilter & { readonly id?: string | undefined }): Promise<number> {
    let purged = 0;
    for (let below: string | undefined = '+inf'; below !== undefined;) {
      const [removed, last] = (await this.#server().run(this.#scripts.purge, [
        lane ?? '',
        reason ?? '',
        below,
        id ?? '',
      ])) as [number, Buffer];
      purged += removed;
      below = last.length === 0 ? undefined : before(last.toString());
    }
    return purged;
  }

  async #letter(id: string): Promise<PackedLetter | undefined> {
    return ((await this.#server().run(this.#scripts.letter, [id])) as PackedLetter | null) ?? undefined;
  }
}

/** The range that ends before the letter of that number; an empty one if it is no number of ours. */
function before(number: string | undefined): string {
  if (number === undefined) return '+inf';
  return /^\d{1,16}$/.test(number) ? `(${number}` : '(0';
}

function replayed(
  letter: PackedLetter,
  { newId, to, headers, body }: Pick<ReplayOptions, 'to' | 'headers' | 'body'> & { readonly newId: string },
): NewMessage {
  const { id, lane } = unpackLetter(letter);
  const { dedupKey: _key, dedupWindowMs: _window, delayMs: _delay, ...rest } = textOf(letter[1]);
  const edited = Object.entries({ ...rest.envelope.headers, ...headers }).filter(([, value]) => value !== null);
  return {
    ...rest,
    id: newId,
    lane: to ?? lane,
    body: body ?? new Uint8Array(),
    envelope: {
      ...rest.envelope,
      headers: Object.fromEntries(edited) as NewMessage['envelope']['headers'],
      replayOf: id,
    },
  };
}

/** Never kept: there is no letter to replay. */
function placeholder(id: string): NewMessage {
  const envelope = { callId: '', method: '', path: '', query: '', headers: {}, source: '', depth: 0, acceptedAt: 0 };
  return { id, lane: '', envelope, body: new Uint8Array(), priority: 0, maxAttempts: 1, resultTtlMs: 0 };
}
