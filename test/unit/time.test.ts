import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isoTime } from '../../core/kit/time.ts';

/** Moments that are near each other, as those of messages are, around one that is anywhere. */
const moments = fc
  .tuple(fc.integer({ min: -8.6e15, max: 8.6e15 }), fc.array(fc.integer({ min: -2500, max: 2500 }), { minLength: 1 }))
  .map(([at, offsets]) => offsets.map((offset) => at + offset));

test('a moment is told as Date tells it, whichever was asked for before', () => {
  fc.assert(
    fc.property(moments, (all) => {
      for (const at of all) expect(isoTime(at)).toBe(new Date(at).toISOString());
    }),
  );
  expect(isoTime(1_700_000_000_000.9)).toBe('2023-11-14T22:13:20.000Z');
  expect(() => isoTime(Number.NaN)).toThrow(RangeError);
});
