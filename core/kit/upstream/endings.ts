/** Something that ends by itself once nothing goes on in it, and can be ended. */
export interface Endable {
  /** Takes nothing more; resolves once what goes on has ended. */
  close(): Promise<void>;
  /** Breaks off what goes on. */
  destroy(): Promise<void>;
}

/** Lets all of them end by themselves until the deadline, and then ends them. */
export async function endAll(all: readonly Endable[], deadlineMs: number): Promise<void> {
  const timer = setTimeout(() => {
    for (const each of all) void each.destroy();
  }, deadlineMs);
  await Promise.all(all.map((each) => each.close()));
  clearTimeout(timer);
}
