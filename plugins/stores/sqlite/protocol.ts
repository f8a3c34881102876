import type { StoreRecord } from '../../../core/contracts/store.ts';

/** What the thread with the database is asked to do. Times are wall clock, ms, of the host's clock. */
export type Operation =
  | { readonly kind: 'get'; readonly key: string; readonly now: number }
  | {
      readonly kind: 'put';
      readonly key: string;
      readonly value: string;
      readonly now: number;
      readonly expiresAt: number | undefined;
      readonly ifVersion: number | undefined;
    }
  | { readonly kind: 'delete'; readonly key: string; readonly now: number }
  | {
      readonly kind: 'list';
      readonly prefix: string;
      readonly limit: number;
      readonly after: string | undefined;
      readonly now: number;
    }
  /** Removes some of what has expired. */
  | { readonly kind: 'sweep'; readonly now: number };

export type Result = StoreRecord | string[] | number | boolean | undefined;

/** One batch is one transaction: all of it is durable when it is answered, or nothing was changed. */
export type ToThread =
  | { readonly kind: 'batch'; readonly operations: readonly Operation[] }
  | { readonly kind: 'close' };

export type FromThread =
  | { readonly kind: 'opened' }
  | { readonly kind: 'done'; readonly results: readonly Result[] }
  | { readonly kind: 'failed'; readonly message: string };
