const cellCount = 64;

/**
 * Which calls that were posted to a busy thread it has begun. The memory is shared: a cell holds the number of a call
 * that is offered, its negative once the thread has begun it, and 0 if the host has taken it back. One exchange decides
 * between the two sides, so that a call is never run twice, and that it was not begun is certain even when the thread
 * has died. At most `Claims.limit` calls may be offered at once.
 */
export class Claims {
  /** Half of the cells: an offer must not fall on the cell of another that is still open. */
  static readonly limit = cellCount / 2;
  readonly cells: Int32Array<SharedArrayBuffer>;

  constructor(cells = new Int32Array(new SharedArrayBuffer(cellCount * Int32Array.BYTES_PER_ELEMENT))) {
    this.cells = cells;
  }

  /** Host: before the call is posted. Numbers of one thread follow each other. */
  offer(number: number): void {
    Atomics.store(this.cells, number % cellCount, number);
  }

  /** Host: whether the call is the host's again. */
  takeBack(number: number): boolean {
    return Atomics.compareExchange(this.cells, number % cellCount, number, 0) === number;
  }

  /** Thread: whether it may be run. */
  begin(number: number): boolean {
    return Atomics.compareExchange(this.cells, number % cellCount, number, -number) === number;
  }
}
