/** A binary heap: the least item first, by `before`. */
export class Heap<Item> {
  readonly #items: Item[] = [];
  readonly #before: (a: Item, b: Item) => boolean;

  constructor(before: (a: Item, b: Item) => boolean) {
    this.#before = before;
  }

  get size(): number {
    return this.#items.length;
  }

  peek(): Item | undefined {
    return this.#items[0];
  }

  clear(): void {
    this.#items.length = 0;
  }

  /** In no order. */
  values(): ArrayIterator<Item> {
    return this.#items.values();
  }

  push(item: Item): void {
    const items = this.#items;
    let index = items.push(item) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = items[parent] as Item;
      if (!this.#before(item, above)) break;
      items[index] = above;
      index = parent;
    }
    items[index] = item;
  }

  pop(): Item | undefined {
    const items = this.#items;
    const first = items[0];
    const last = items.pop();
    if (last === undefined || items.length === 0) return first;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= items.length) break;
      const other = child + 1;
      if (other < items.length && this.#before(items[other] as Item, items[child] as Item)) child = other;
      if (!this.#before(items[child] as Item, last)) break;
      items[index] = items[child] as Item;
      index = child;
    }
    items[index] = last;
    return first;
  }
}
