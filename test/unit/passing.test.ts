import { setImmediate as turn } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { passes } from '../../core/kit/upstream/passing.ts';

const buffersMib = (): number => process.memoryUsage().arrayBuffers / 2 ** 20;

/** MiB of buffers that there are at the most while so many pieces of 64 KiB come and are forgotten. */
async function most(count: number, tell: (piece: Uint8Array) => void): Promise<number> {
  let found = 0;
  for (let index = 0; index < count; index++) {
    tell(Buffer.allocUnsafeSlow(65_536));
    found = Math.max(found, buffersMib());
    if (index % 16 === 0) await turn();
  }
  return found;
}

it('the pieces of a body that passes through are collected before there are many of them', async () => {
  const before = buffersMib();
  // 24 MiB, and as many whose memory another thread has not given back yet.
  expect((await most(8192, passes)) - before).toBeLessThan(56);
  // What V8 does by itself.
  expect((await most(8192, () => undefined)) - before).toBeGreaterThan(56);
  expect('gc' in globalThis).toBe(false);
});
