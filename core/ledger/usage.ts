import { Heap } from '../kit/heap.ts';
import type { Ref } from './records.ts';

interface Held {
  references: number;
  bytes: number;
  /** What had ever been referred to when this entry was first. */
  readonly mark: number;
}

/** Which entries of the journal of bodies are in use, and how much of what it holds still is. */
export class Usage {
  readonly #held = new Map<number, Held>();
  readonly #positions = new Heap<number>((a, b) => a < b);
  #liveBytes = 0;
  /** All that was ever referred to. */
  everBytes = 0;
  /** The highest position that was ever referred to. */
  newest = -1;

  retain([, length, ...positions]: Ref): void {
    for (const position of positions) {
      let held = this.#held.get(position);
      if (!held) {
        held = { references: 0, bytes: 0, mark: this.everBytes };
        this.#held.set(position, held);
        this.#positions.push(position);
      }
      const bytes = length / positions.length;
      held.references++;
      held.bytes += bytes;
      this.everBytes += bytes;
      this.#liveBytes += bytes;
      this.newest = Math.max(this.newest, position);
    }
  }

  release([, length, ...positions]: Ref): void {
    for (const position of positions) {
      const held = this.#held.get(position);
      if (!held) continue;
      const bytes = length / positions.length;
      held.references--;
      held.bytes -= bytes;
      this.#liveBytes -= bytes;
      if (held.references === 0) this.#held.delete(position);
    }
  }

  get liveBytes(): number {
    return this.#liveBytes;
  }

  /** Infinity when nothing is in use. */
  get oldest(): number {
    for (let position = this.#positions.peek(); position !== undefined; position = this.#positions.peek()) {
      if (this.#held.has(position)) return position;
      this.#positions.pop();
    }
    return Infinity;
  }

  /** Bytes referred to since the oldest entry in use, in use or not: about what the journal cannot trim. */
  get retainedBytes(): number {
    const oldest = this.#held.get(this.oldest);
    return oldest ? this.everBytes - oldest.mark : 0;
  }

  /** Whether the entry is followed by more than so many bytes, in use or not. */
  isBehind(position: number, bytes: number): boolean {
    const held = this.#held.get(position);
    return held !== undefined && this.everBytes - held.mark > bytes;
  }
}
