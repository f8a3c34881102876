import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { Fifo } from '../../core/kit/fifo.ts';

describe('what comes first', () => {
  it('goes first, as from an array, however many have gone before', () => {
    // Each number: so many come, or so many go.
    const steps = fc.array(fc.integer({ min: -3000, max: 3000 }), { maxLength: 20 });
    fc.assert(
      fc.property(steps, (counts) => {
        const fifo = new Fifo<number>();
        const array: number[] = [];
        let next = 0;
        for (const count of counts) {
          for (let come = 0; come < count; come++) {
            array.push(next);
            fifo.add(next++);
          }
          const gone = Array.from({ length: Math.max(0, -count) }, () => fifo.take());
          expect(gone).toEqual(gone.map(() => array.shift()));
          expect(fifo.length).toBe(array.length);
        }
      }),
      { numRuns: 50 },
    );
  });
});
