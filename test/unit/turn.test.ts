import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { Turn } from '../../core/api/turn.ts';

const limitMs = 20;

/** Keeps the event loop for longer than the limit. */
function stall(): void {
  for (const since = performance.now(); performance.now() - since < limitMs + 5;);
}

it('refuses what is begun late in a long turn, and goes on to while those of the next one may have come in it', async () => {
  const turn = new Turn(limitMs);
  expect(turn.isLong()).toBe(false);
  stall();
  expect(turn.isLong()).toBe(true);
  await nextTurn();
  expect(turn.isLong()).toBe(true); // It may have waited since the turn before began.
  await nextTurn();
  expect(turn.isLong()).toBe(false); // That one was short.
});

it('forgets a long turn when one without calls was between', async () => {
  const turn = new Turn(limitMs);
  turn.isLong();
  stall();
  expect(turn.isLong()).toBe(true);
  await nextTurn();
  await nextTurn();
  expect(turn.isLong()).toBe(false);
});

it('does not take a stall in which nobody was refused for a crowd', async () => {
  const turn = new Turn(limitMs);
  expect(turn.isLong()).toBe(false);
  stall();
  await nextTurn();
  expect(turn.isLong()).toBe(false);
});
