import type { Linked } from '../contracts/delivery.ts';

/**
 * Items in the order in which they came, each of which carries its own place. A Set would do the same, but it leaves the
 * tables that it outgrew behind, full of items: those in the old generation keep whole requests alive until the next full
 * collection, which made every young collection copy a quarter of all that was allocated.
 */
export class Ring<Item extends Linked = Linked> implements Linked {
  previous: Linked = this;
  next: Linked = this;

  /** Those of now: what becomes of the ring changes nothing of it. */
  get items(): readonly Item[] {
    const items: Item[] = [];
    for (let item: Linked | undefined = this.next; item && item !== this; item = item.next) items.push(item as Item);
    return items;
  }

  /** The one that came before all others in it. */
  get first(): Item | undefined {
    return this.next === this ? undefined : (this.next as Item);
  }

  /** Of those for which it holds, the one that came first. */
  find(holds: (item: Item) => boolean): Item | undefined {
    for (let item = this.next; item !== this; item = item.next ?? this) if (holds(item as Item)) return item as Item;
    return undefined;
  }

  /** Of those for which it holds, the one that came last. */
  last(holds: (item: Item) => boolean): Item | undefined {
    for (let item = this.previous; item !== this; item = item.previous ?? this)
      if (holds(item as Item)) return item as Item;
    return undefined;
  }

  add(item: Item): void {
    const last = this.previous;
    item.previous = last;
    item.next = this;
    last.next = item;
    this.previous = item;
  }
}

/** Takes it out of the ring that it is in, if any: nothing of it is kept. */
export function unlink(item: Linked): void {
  const { previous, next } = item;
  if (!previous || !next) return;
  previous.next = next;
  next.previous = previous;
  item.previous = undefined;
  item.next = undefined;
}

/** Whether it is in a ring. */
export function isLinked(item: Linked): boolean {
  return item.next !== undefined;
}
