import { finalStates, type InvocationState } from '../contracts/invocation.ts';

/** What this gateway last saw of a queued invocation. */
export interface SeenInvocation {
  readonly id: string;
  /** `name.namespace` */
  readonly function: string;
  /** Its end, if that was seen: one that waits may be run by another gateway. */
  readonly ended: InvocationState | undefined;
}

export interface SeenFilter {
  readonly function?: string | undefined;
  /** Those that are known to have ended otherwise are left out; what became of the others only their queue knows. */
  readonly state?: InvocationState | undefined;
  /** Only those with a lower id, which are older. */
  readonly before?: string | undefined;
}

/** Of each of two generations. */
const generationSize = 5000;

/**
 * The queued invocations that this gateway accepted or ran lately, 5,000 to 10,000 of them: queues find by id only. The
 * older generation is dropped as a whole, since taking out one by one would make a Map slow.
 */
export class RecentInvocations {
  #young = new Map<string, Seen>();
  #old = new Map<string, Seen>();

  /** It was accepted here, or leased. */
  seen(id: string, name: string): void {
    if (this.#find(id)) return;
    if (this.#young.size >= generationSize) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(id, { function: name, ended: undefined });
  }

  ended(id: string, state: InvocationState): void {
    const seen = this.#find(id);
    if (seen) seen.ended = state;
  }

  /** Newest first. */
  list({ function: name, state, before }: SeenFilter): SeenInvocation[] {
    const isFinal = state !== undefined && finalStates.has(state);
    return [...this.#old, ...this.#young]
      .filter(
        ([id, seen]) =>
          (name === undefined || seen.function === name) &&
          (before === undefined || id < before) &&
          (state === undefined || seen.ended === undefined || (isFinal && seen.ended === state)),
      )
      .sort(([one], [other]) => (one < other ? 1 : -1))
      .map(([id, seen]) => ({ id, ...seen }));
  }

  #find(id: string): Seen | undefined {
    return this.#young.get(id) ?? this.#old.get(id);
  }
}

interface Seen {
  readonly function: string;
  ended: InvocationState | undefined;
}
