import { MillraceError } from '../../../core/contracts/errors.ts';
import type { Channel } from './channel.ts';

const letGo = 'it was let go';

/** A channel to whichever broker it takes now: dialled with the first request, and again after each loss. */
export class KeptChannel {
  readonly #dial: () => Promise<Channel>;
  #channel: Channel | undefined;
  #dialling: Promise<Channel> | undefined;
  #closed = false;

  constructor(dial: () => Promise<Channel>) {
    this.#dial = dial;
  }

  async open(): Promise<Channel> {
    if (this.#closed) throw new MillraceError('connection.unavailable', letGo);
    if (this.#channel && !this.#channel.lost.aborted) return this.#channel;
    this.#dialling ??= this.#dial()
      .then((channel) => {
        this.#channel = channel;
        if (this.#closed) channel.close(letGo);
        return channel;
      })
      .finally(() => {
        this.#dialling = undefined;
      });
    return this.#dialling;
  }

  close(): void {
    this.#closed = true;
    this.#channel?.close(letGo);
  }
}
