/** A message that was received and is not known to be safe yet. */
export interface Receipt {
  readonly offset: number;
  settled: boolean;
}

/**
 * Up to where a partition is done. It goes by the offsets that were received, in their order, and not by numbers:
 * compaction and transactions leave holes, which nobody will ever settle.
 */
export class Watermark {
  #receipts: Receipt[] = [];
  /** The first one that is not settled, or behind the last one. */
  #head = 0;
  #position: number;
  #unsettled = 0;
  #done = 0;

  constructor(position: number) {
    this.#position = position;
  }

  /** Where to read on. */
  get position(): number {
    return this.#position;
  }

  /** What may be committed: nothing below it is owed. */
  get next(): number {
    return this.#receipts[this.#head]?.offset ?? this.#position;
  }

  get unsettled(): number {
    return this.#unsettled;
  }

  /** Messages below `next`, in all. */
  get done(): number {
    return this.#done;
  }

  receive(offset: number): Receipt {
    const receipt = { offset, settled: false };
    this.#receipts.push(receipt);
    this.#unsettled++;
    this.#position = offset + 1;
    return receipt;
  }

  /** Once for each receipt. */
  settle(receipt: Receipt): void {
    receipt.settled = true;
    this.#unsettled--;
    while (this.#receipts[this.#head]?.settled) {
      this.#head++;
      this.#done++;
    }
    if (this.#head < 1000 && this.#head < this.#receipts.length) return;
    this.#receipts = this.#receipts.slice(this.#head);
    this.#head = 0;
  }

  /** Nothing more will come from below this position. */
  pass(position: number): void {
    this.#position = position;
  }
}
