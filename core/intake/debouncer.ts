export interface DebounceTimes {
  /** ms */
  readonly quiet: number;
  /** ms */
  readonly max: number;
}

interface Held<Item> {
  last: Item;
  readonly firstTimer: NodeJS.Timeout;
  quietTimer: NodeJS.Timeout;
}

/** Of what comes in a row under one key only the last one goes on. */
export class Debouncer<Item> {
  readonly #times: DebounceTimes;
  readonly #give: (item: Item) => void;
  readonly #held = new Map<string, Held<Item>>();

  constructor(times: DebounceTimes, give: (item: Item) => void) {
    this.#times = times;
    this.#give = give;
  }

  /** Returns the one that this one takes the place of. */
  add(key: string, item: Item): Item | undefined {
    const { quiet, max } = this.#times;
    const end = (): void => this.#end(key);
    const held = this.#held.get(key);
    if (!held) {
      this.#held.set(key, { last: item, firstTimer: setTimeout(end, max), quietTimer: setTimeout(end, quiet) });
      return undefined;
    }
    const superseded = held.last;
    held.last = item;
    clearTimeout(held.quietTimer);
    held.quietTimer = setTimeout(end, quiet);
    return superseded;
  }

  /** It is quiet now. */
  flush(): void {
    for (const key of this.#held.keys()) this.#end(key);
  }

  #end(key: string): void {
    const held = this.#held.get(key);
    if (!held) return;
    clearTimeout(held.firstTimer);
    clearTimeout(held.quietTimer);
    this.#held.delete(key);
    this.#give(held.last);
  }
}
