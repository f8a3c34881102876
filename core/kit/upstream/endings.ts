/** Something that ends by itself once nothing goes on in it, and can be ended. */
export interface Endable {
  /** Takes nothing more; resolves once what goes on has ended. */
  close(): Promise<void>;
  /** Breaks off what goes on. */
  destroy(): Promise<void>;
}

/** What has been told to end, while something goes on in it. */
export class Endings {
  readonly #ending = new Set<Endable>();

  /** It takes nothing more, and ends in its own time: nobody waits for it here. */
  add(each: Endable): void {
    this.#ending.add(each);
    void each.close().then(() => this.#ending.delete(each));
  }

  /** Lets all of them end by themselves until the deadline, and then ends them. */
  async over(deadlineMs: number): Promise<void> {
    const all = [...this.#ending];
    const timer = setTimeout(() => {
      for (const each of all) void each.destroy();
    }, deadlineMs);
    await Promise.all(all.map((each) => each.close()));
    clearTimeout(timer);
  }
}
