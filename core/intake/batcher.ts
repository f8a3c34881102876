export interface BatchLimits {
  readonly size: number;
  readonly bytes: number;
  /** ms */
  readonly window: number;
}

interface Open<Item> {
  readonly items: Item[];
  bytes: number;
  readonly timer: NodeJS.Timeout;
}

/** Gathers what belongs together until there is enough of it, or the first one has waited long enough. */
export class Batcher<Item> {
  readonly #limits: BatchLimits;
  readonly #give: (items: readonly Item[]) => void;
  readonly #open = new Map<string, Open<Item>>();

  constructor(limits: BatchLimits, give: (items: readonly Item[]) => void) {
    this.#limits = limits;
    this.#give = give;
  }

  add(group: string, item: Item, bytes: number): void {
    const { size, bytes: most, window } = this.#limits;
    const present = this.#open.get(group);
    if (present && present.bytes + bytes > most) this.#close(group);
    let open = this.#open.get(group);
    if (!open) {
      open = { items: [], bytes: 0, timer: setTimeout(() => this.#close(group), window) };
      this.#open.set(group, open);
    }
    open.items.push(item);
    open.bytes += bytes;
    if (open.items.length >= size || open.bytes >= most) this.#close(group);
  }

  /** Whatever is there is enough. */
  flush(): void {
    for (const group of this.#open.keys()) this.#close(group);
  }

  #close(group: string): void {
    const open = this.#open.get(group);
    if (!open) return;
    clearTimeout(open.timer);
    this.#open.delete(group);
    this.#give(open.items);
  }
}
