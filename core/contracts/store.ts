/** A value with the version that the last write gave it. */
export interface StoreRecord {
  readonly value: string;
  readonly version: number;
}

export interface PutOptions {
  /** Forgotten after this many ms; kept for ever without it. */
  readonly ttlMs?: number | undefined;
  /** Write only if this is the present version; 0 means that the key must not exist. */
  readonly ifVersion?: number | undefined;
}

/**
 * Keyed text records with a lifetime: cron slots, idempotency keys, deployed functions. Checked by `storeContract`.
 * Every method rejects with MillraceError `store.unavailable` when the store cannot be reached.
 */
export interface Store {
  start(): Promise<void>;
  get(key: string): Promise<StoreRecord | undefined>;
  /** Resolves, once durable, with the new version; with undefined when `ifVersion` did not hold. */
  put(key: string, value: string, options?: PutOptions): Promise<number | undefined>;
  /** Returns whether there was one. */
  delete(key: string): Promise<boolean>;
  /** Keys that begin with `prefix`, in order, after `after`; at most `limit`. */
  list(prefix: string, limit: number, after?: string): Promise<string[]>;
  stop(deadlineMs: number): Promise<void>;
}
