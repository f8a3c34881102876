import { expect, it } from 'vitest';
import { HeldBodies } from '../../core/delivery/held-bodies.ts';

it('bounds the bytes of all bodies that are on their way, and has room again when one has arrived', () => {
  const bodies = new HeldBodies(100);
  const [one, other] = [bodies.hold(), bodies.hold()];
  expect(one.add(60)).toBeUndefined();
  expect(other.add(40)).toBeUndefined();
  expect(other.add(1)).toMatchObject({ code: 'limit.in-flight', retryAfterSeconds: 1 });
  one.release();
  one.release();
  expect(other.add(60)).toBeUndefined();
  expect(other.add(1)).toBeUndefined();
  expect(one.add(1)).toMatchObject({ code: 'limit.in-flight' });
});
