import { describe, expect, it } from 'vitest';
import { saw } from '../support/promise.ts';
import { mayMount, mutants, mutantsElsewhere } from './mutants.ts';

const hunted = mutants.filter(({ plant }) => mayMount() || plant !== 'swallow-write-error');
const killed = new Set<string>();

/** reliability.md §5.6: what a test of a promise finds is worth as much as the bugs that it has been seen to find. */
describe('bugs that are planted', () => {
  for (const { plant, where, foundBy, hunt, control } of hunted) {
    it(`${plant} is found by ${foundBy}`, { timeout: 180_000 }, async () => {
      const found = await hunt(true);
      expect(found, `${plant} of ${where} survives`).toBeDefined();
      if (control === undefined) expect(await hunt(false), 'without it').toBeUndefined();
      killed.add(plant);
    });
  }

  it('are all found', ({ task }) => {
    const score = `kill score ${killed.size}/${hunted.length}`;
    const others = mutantsElsewhere.map(({ plant, foundBy }) => `${plant} by ${foundBy}`).join(', ');
    process.stderr.write(`  ${score}; beside these ${others}\n`);
    saw(task, { result: score });
    expect(killed.size).toBe(hunted.length);
  });
});
