import { rmSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { saw, seed, times } from '../support/promise.ts';
import { type Damage, type KnownQueue, knownQueue, read, type Reading } from './corrupt-store.ts';
import { seeded } from './random.ts';

const file = 'queue.db';
const log = 'queue.db-wal';
let known: KnownQueue;
beforeAll(async () => {
  known = await knownQueue(seeded(seed), 180);
});
afterAll(() => rmSync(known.folder, { recursive: true, force: true }));

async function readings(files: string, count: number, damage: (random: () => number) => Damage): Promise<Reading[]> {
  const random = seeded(seed);
  const all: Reading[] = [];
  for (let round = 0; round < count; round++) all.push(await read(known, files, damage(random)));
  return all;
}

function flipped(bytes: Buffer, random: () => number): Buffer {
  const at = Math.floor(random() * bytes.byteLength);
  bytes[at] = (bytes[at] ?? 0) ^ (1 << Math.floor(random() * 8));
  return bytes;
}

/** Nothing wrong was served, and of what nothing is known any more something was told. */
function expectHonest(all: readonly Reading[]): void {
  expect(
    all.flatMap(({ wrong }) => wrong),
    `seed ${seed}`,
  ).toEqual([]);
  expect(
    all.filter(({ outcome, missing }) => outcome === 'quiet' && missing > 0),
    `seed ${seed}`,
  ).toEqual([]);
}

function summary(all: readonly Reading[]): string {
  const count = (outcome: Reading['outcome']): number => all.filter((one) => one.outcome === outcome).length;
  return `${count('refused')} refused at the start, ${count('told')} told later, ${count('quiet')} without effect, 0 wrong`;
}

describe('a queue whose file is damaged', () => {
  it('serves nothing wrong, and says so, after a flipped bit (P14)', { timeout: 3_600_000 }, async ({ task }) => {
    const all = await readings(known.closed, times(60, 500), (random) => (content, write) => {
      write(file, flipped(content(file), random));
    });
    expectHonest(all);
    expect(all.some(({ outcome }) => outcome !== 'quiet')).toBe(true);
    saw(task, { seed, result: `${all.length} flipped bits: ${summary(all)}` });
  });

  it('is caught when it believes what it reads', async () => {
    // Of a message that waits.
    const message = [...known.messages.values()]
      .toReversed()
      .find(({ body, delayMs, orderKey }) => body.length > 500 && delayMs === undefined && orderKey === undefined);
    const inBody = (): Damage => (content, write) => {
      const bytes = content(file);
      const at = bytes.indexOf(message?.body ?? '') + 100;
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      write(file, bytes);
    };
    expect(await readings(known.closed, 1, inBody)).toEqual([{ outcome: 'told', wrong: [], missing: 0 }]);
    vi.stubEnv('MILLRACE_PLANT', 'skip-checksums');
    try {
      const [trusting] = await readings(known.closed, 1, inBody);
      expect(trusting?.wrong).toEqual([`the message ${message?.id} has the body of another`]);
    } finally {
      vi.unstubAllEnvs();
    }
  });

  it('is refused when one of its indexes would find other rows', async () => {
    const inIndex = (): Damage => (content, write) => {
      const bytes = content(file);
      bytes[bytes.indexOf('WHERE state = 2') + 'WHERE state = '.length] = '3'.charCodeAt(0);
      write(file, bytes);
    };
    expect(await readings(known.closed, 1, inIndex)).toEqual([{ outcome: 'refused', wrong: [], missing: 0 }]);
  });

  it('serves nothing wrong after it was cut short (P14)', { timeout: 600_000 }, async ({ task }) => {
    const all = await readings(known.closed, times(6, 50), (random) => (content, write) => {
      const bytes = content(file);
      write(file, bytes.subarray(0, 1 + Math.floor(random() * (bytes.byteLength - 1))));
    });
    expectHonest(all);
    expect(all.filter(({ outcome }) => outcome !== 'refused')).toEqual([]);
    saw(task, { seed, result: `${all.length} times cut short: ${summary(all)}` });
  });

  it('goes back to a state that it had when the end of its log is torn', { timeout: 600_000 }, async () => {
    const all = await readings(known.killed, times(6, 50), (random) => (content, write) => {
      const bytes = content(log);
      const end = Math.floor(random() * bytes.byteLength);
      write(
        log,
        random() < 0.5
          ? bytes.subarray(0, end)
          : Buffer.concat([bytes.subarray(0, end), flipped(bytes.subarray(end), random)]),
      );
    });
    expect(
      all.flatMap(({ wrong }) => wrong),
      `seed ${seed}`,
    ).toEqual([]);
    expect(
      all.filter(({ outcome }) => outcome !== 'quiet'),
      `seed ${seed}`,
    ).toEqual([]);
  });

  it('is what it was when an old copy of it is brought back', async () => {
    const [old] = await readings(known.older, 1, () => () => undefined);
    expect(old).toEqual({ outcome: 'quiet', wrong: [], missing: known.messages.size / 2 });
  });

  it('is read whole when nothing is damaged', async () => {
    for (const files of [known.closed, known.killed]) {
      expect(await readings(files, 1, () => () => undefined)).toEqual([{ outcome: 'quiet', wrong: [], missing: 0 }]);
    }
  });
});
