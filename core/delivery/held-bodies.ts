import { totalmem } from 'node:os';
import { MillraceError } from '../contracts/errors.ts';

/** Of the memory that the process may have. Each byte is there several times while it becomes durable. */
const share = 1 / 32;

/**
 * Bytes of bodies that were read and are not yet in their queue, over all calls. Each of them is within its limit, but
 * thousands at once would be more than the memory: what is more than its share is refused, and can be sent again.
 */
export class HeldBodies {
  readonly #maxBytes: number;
  #bytes = 0;

  constructor(maxBytes = share * Math.min(process.constrainedMemory() || Infinity, totalmem())) {
    this.#maxBytes = maxBytes;
  }

  /** Those of one call, until `release`. */
  hold(): Hold {
    return new Hold(this);
  }

  /** So many more for a call that has `held` already; the refusal, if there is no room for them. */
  take(bytes: number, held: number): MillraceError | undefined {
    // One alone always has room, or what its own limit allows could never come.
    if (this.#bytes + bytes > this.#maxBytes && this.#bytes > held) return refusal();
    this.#bytes += bytes;
    return undefined;
  }

  giveBack(bytes: number): void {
    this.#bytes -= bytes;
  }
}

/** What one call holds. */
export class Hold {
  readonly #bodies: HeldBodies;
  #bytes = 0;

  constructor(bodies: HeldBodies) {
    this.#bodies = bodies;
  }

  /** The refusal, if there is no room for so many more. */
  add(bytes: number): MillraceError | undefined {
    const refused = this.#bodies.take(bytes, this.#bytes);
    if (!refused) this.#bytes += bytes;
    return refused;
  }

  release(): void {
    this.#bodies.giveBack(this.#bytes);
    this.#bytes = 0;
  }
}

function refusal(): MillraceError {
  const message = 'too many bytes of bodies are on their way into queues';
  return new MillraceError('limit.in-flight', message, { retryAfterSeconds: 1 });
}
