import type {
  DeadLetter,
  DeadLetterFilter,
  DeadLetterPage,
  DeadLetters,
  ReplayOptions,
} from '../../../core/contracts/queue.ts';
import type { Channel } from './channel.ts';
import { unpackLetter } from './packing.ts';

export class SqliteDeadLetters implements DeadLetters {
  readonly #channel: Channel;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  async list(filter: DeadLetterFilter, limit: number, cursor?: string): Promise<DeadLetterPage> {
    const before = cursor === undefined ? undefined : Number(cursor);
    const page = await this.#channel.call<'letters'>(() => ({ kind: 'letters', filter, limit, before }));
    return { items: page.items.map(unpackLetter), cursor: page.cursor };
  }

  async get(id: string): Promise<DeadLetter | undefined> {
    const letter = await this.#channel.call<'letter'>(() => ({ kind: 'letter', id }));
    return letter && unpackLetter(letter);
  }

  body(id: string): Promise<Uint8Array | undefined> {
    return this.#channel.call<'letter-body'>(() => ({ kind: 'letter-body', id }));
  }

  replay(id: string, { id: newId, to, headers, body }: ReplayOptions): Promise<boolean> {
    return this.#channel.call<'replay'>((pack) => ({
      kind: 'replay',
      id,
      newId,
      to,
      headers,
      body: body && pack(body),
    }));
  }

  /** In steps, so that a hundred thousand letters do not hold up everything else; a crash leaves the rest. */
  async purge(filter: DeadLetterFilter & { readonly id?: string | undefined }): Promise<number> {
    let total = 0;
    for (;;) {
      const removed = await this.#channel.call<'purge'>(() => ({ kind: 'purge', filter }));
      total += removed;
      if (removed === 0 || filter.id !== undefined) return total;
    }
  }
}
