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
    let held = 0;
    return {
      add: (bytes) => {
        // One alone always has room, or what its own limit allows could never come.
        if (this.#bytes + bytes > this.#maxBytes && this.#bytes > held) return refusal();
        this.#bytes += bytes;
        held += bytes;
        return undefined;
      },
      release: () => {
        this.#bytes -= held;
        held = 0;
      },
    };
  }
}

export interface Hold {
  /** The refusal, if there is no room for so many more. */
  add(bytes: number): MillraceError | undefined;
  release(): void;
}

function refusal(): MillraceError {
  const message = 'too many bytes of bodies are on their way into queues';
  return new MillraceError('limit.in-flight', message, { retryAfterSeconds: 1 });
}
