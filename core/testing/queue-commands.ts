import * as fc from 'fast-check';
import type { Disposition, NewMessage } from '../contracts/queue.ts';

/** Something to ask of a queue. `which` counts back from the newest one there is. */
export type QueueCommand =
  | { readonly do: 'enqueue'; readonly options: Partial<NewMessage> & Pick<NewMessage, 'lane'> }
  | { readonly do: 'enqueue again'; readonly which: number }
  | { readonly do: 'lease'; readonly lane: string; readonly max: number; readonly ttlMs: number }
  | {
      readonly do: 'settle';
      readonly which: number;
      readonly disposition: Disposition;
      /** The lane of a message that follows from it. */
      readonly effect: string | undefined;
    }
  | { readonly do: 'extend'; readonly which: number; readonly ttlMs: number }
  | { readonly do: 'cancel'; readonly which: number }
  | { readonly do: 'pause' | 'resume'; readonly lane: string }
  | { readonly do: 'replay'; readonly which: number; readonly to: string | undefined }
  | { readonly do: 'purge'; readonly which: number }
  | { readonly do: 'advance'; readonly ms: number }
  | { readonly do: 'reopen' };

const lane = fc.constantFrom('work.default', 'other.default');
const which = fc.nat({ max: 12 });
const error = { code: 'function.failed', message: 'no' };

/** Multiples of 100, so that things often fall due at the same time. */
function span(minMs: number, maxMs: number): fc.Arbitrary<number> {
  return fc.integer({ min: minMs / 100, max: maxMs / 100 }).map((tenths) => tenths * 100);
}

/** Mostly absent. */
function seldom<Value>(value: fc.Arbitrary<Value>): fc.Arbitrary<Value | undefined> {
  return fc.option(value, { nil: undefined, freq: 1 });
}

const options = fc.record({
  lane,
  priority: fc.integer({ min: 0, max: 9 }),
  maxAttempts: fc.integer({ min: 1, max: 3 }),
  orderKey: fc.option(fc.constantFrom('a', 'b'), { nil: undefined }),
  dedupKey: seldom(fc.constantFrom('x', 'y')),
  dedupWindowMs: span(0, 4000),
  delayMs: seldom(span(0, 3000)),
  maxAgeMs: seldom(span(100, 6000)),
});

const disposition: fc.Arbitrary<Disposition> = fc.oneof(
  { weight: 3, arbitrary: fc.constant<Disposition>({ kind: 'ack' }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('retry' as const),
      delayMs: fc.oneof(fc.constant(0), span(0, 3000)),
      error: seldom(fc.constant(error)),
      counted: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.constant<Disposition>({ kind: 'dead', reason: 'permanent', error }) },
  { weight: 1, arbitrary: fc.constant<Disposition>({ kind: 'cancelled' }) },
);

/** One command, with what happens often in life more often. */
export const anyQueueCommand: fc.Arbitrary<QueueCommand> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant('enqueue' as const), options }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('enqueue again' as const), which }) },
  {
    weight: 7,
    arbitrary: fc.record({
      do: fc.constant('lease' as const),
      lane,
      max: fc.integer({ min: 1, max: 4 }),
      ttlMs: span(100, 3000),
    }),
  },
  {
    weight: 7,
    arbitrary: fc.record({ do: fc.constant('settle' as const), which, disposition, effect: seldom(lane) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('extend' as const), which, ttlMs: span(100, 3000) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('cancel' as const), which }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('pause' as const, 'resume' as const), lane }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('replay' as const), which, to: seldom(lane) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('purge' as const), which }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('advance' as const), ms: span(0, 2500) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reopen' as const) }) },
);
