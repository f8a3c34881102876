/** Whether the promise was there in time; not so when the signal aborts first. */
export async function within(promise: Promise<unknown>, ms: number, signal?: AbortSignal): Promise<boolean> {
  const { promise: tooLate, resolve } = Promise.withResolvers<false>();
  const giveUp = (): void => resolve(false);
  const timer = setTimeout(giveUp, ms);
  if (signal?.aborted) giveUp();
  signal?.addEventListener('abort', giveUp, { once: true });
  const result = await Promise.race([promise.then(() => true), tooLate]);
  clearTimeout(timer);
  signal?.removeEventListener('abort', giveUp);
  return result;
}
