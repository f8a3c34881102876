import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { sleep } from '../contracts/clock.ts';
import type { Journal, JournalEntry } from '../contracts/journal.ts';

/** A journal to try, and the means to try it with. */
export interface JournalBench {
  /** Opened and empty. */
  readonly journal: Journal;
  /** Another one on the same log, as another gateway has it. */
  readonly another: () => Promise<Journal>;
  /** Lets the broker die without a warning, and returns what brings it back as it was. Absent: it cannot die. */
  readonly away?: () => Promise<() => Promise<void>>;
  readonly dispose: () => Promise<void>;
}

export interface JournalContractOptions {
  readonly name: string;
  readonly create: () => Promise<JournalBench>;
  /** What was trimmed is gone at once. Otherwise it may be kept. */
  readonly trims: boolean;
}

/** So long may it take until reading goes on after the broker is back. */
const backMs = 10_000;

/** Registers what the ledger needs of a journal with vitest: call it at the top of a test file. */
export function journalContract({ name, create, trims }: JournalContractOptions): void {
  const cases: Record<string, (bench: JournalBench) => Promise<void>> = {
    'starts empty, and gives ascending positions': async ({ journal }) => {
      expect(await journal.bounds()).toEqual({ first: journal.origin, next: journal.origin });
      const positions = [];
      for (let index = 0; index < 5; index++) positions.push(await journal.append(Buffer.from(`${index}`)));
      expect(positions[0]).toBeGreaterThanOrEqual(journal.origin);
      expect(positions).toEqual(positions.toSorted((a, b) => a - b));
      expect(new Set(positions).size).toBe(5);
      const { first, next } = await journal.bounds();
      expect(first).toBeLessThanOrEqual(positions[0] ?? -1);
      expect(next).toBeGreaterThan(positions.at(-1) ?? Infinity);
    },
    'gives back the bytes, also as many as it takes': async ({ journal }) => {
      for (const data of [Buffer.alloc(0), randomBytes(1000), randomBytes(journal.maxBytes)]) {
        const position = await journal.append(data);
        expect(Buffer.from((await journal.read(position)) ?? []).equals(data)).toBe(true);
      }
      const { next } = await journal.bounds();
      expect(await journal.read(next + 100)).toBeUndefined();
    },
    'is read by many at a time, out of order': async ({ journal }) => {
      const positions: number[] = [];
      for (let index = 0; index < 30; index++) positions.push(await journal.append(Buffer.from(`e${index}`)));
      const read = await Promise.all(positions.toReversed().map((position) => journal.read(position)));
      expect(read.map((data) => Buffer.from(data ?? []).toString())).toEqual(
        positions.map((_, index) => `e${index}`).toReversed(),
      );
    },
    'is followed from any position on, with what comes later': async ({ journal }) => {
      const positions: number[] = [];
      for (let index = 0; index < 6; index++) positions.push(await journal.append(Buffer.from(`${index}`)));
      const whole = await Follower.begin(journal, journal.origin);
      const later = await Follower.begin(journal, positions[3] ?? 0);
      const end = await Follower.begin(journal, (await journal.bounds()).next);
      positions.push(await journal.append(Buffer.from('6')));
      expect(await whole.texts(7)).toEqual(['0', '1', '2', '3', '4', '5', '6']);
      expect(await later.texts(4)).toEqual(['3', '4', '5', '6']);
      expect(await end.texts(1)).toEqual(['6']);
      expect(whole.entries.map(({ position }) => position)).toEqual(positions);
      for (const follower of [whole, later, end]) follower.stop();
    },
    'is followed in the same order by all, whoever writes': async ({ journal, another }) => {
      const other = await another();
      const followers = await Promise.all([journal, other].map((each) => Follower.begin(each, each.origin)));
      const write = async (to: Journal, letter: string): Promise<void> => {
        for (let index = 0; index < 100; index++) await to.append(Buffer.from(`${letter}${index}`));
      };
      await Promise.all([write(journal, 'a'), write(other, 'b')]);
      const [one, two] = await Promise.all(followers.map((follower) => follower.texts(200)));
      expect(one).toEqual(two);
      for (const letter of ['a', 'b']) {
        const own = (one ?? []).filter((text) => text.startsWith(letter));
        expect(own).toEqual(Array.from({ length: 100 }, (_, index) => `${letter}${index}`));
      }
      const times = followers.map(({ entries }) => entries.map(({ at }) => at));
      expect(times[0]).toEqual(times[1]);
      for (const follower of followers) follower.stop();
    },
    'hands out what it has written as all others see it, alone and among them': async ({ journal, another }) => {
      const other = await another();
      const followers = await Promise.all([journal, other].map((each) => Follower.begin(each, each.origin)));
      let count = 0;
      const write = async (to: Journal, entries: number): Promise<void> => {
        for (const end = count + entries; count < end; count++) await to.append(Buffer.from(`${count}`));
      };
      for (const entries of [20, 1, 2, 5]) {
        await write(journal, entries);
        await write(other, entries);
      }
      followers.push(await Follower.begin(await another(), journal.origin));
      for (const follower of followers) {
        expect(await follower.texts(count)).toEqual(Array.from({ length: count }, (_, index) => `${index}`));
      }
      const [own, others, later] = followers.map(({ entries }) => entries.map(({ position, at }) => [position, at]));
      expect(own).toEqual(later);
      expect(others).toEqual(later);
      for (const follower of followers) follower.stop();
    },
    'hands out nothing more once it is told to stop': async ({ journal }) => {
      const follower = await Follower.begin(journal, journal.origin);
      await journal.append(Buffer.from('a'));
      await follower.texts(1);
      follower.stop();
      const other = await Follower.begin(journal, journal.origin);
      await journal.append(Buffer.from('b'));
      await other.texts(2);
      expect(follower.entries).toHaveLength(1);
      other.stop();
    },
    'is there for one who comes later': async ({ journal, another }) => {
      const position = await journal.append(Buffer.from('kept'));
      const later = await another();
      expect(Buffer.from((await later.read(position)) ?? []).toString()).toBe('kept');
      expect(await later.bounds()).toEqual(await journal.bounds());
    },
    'forgets what is trimmed, and tells a reader who missed it': async ({ journal }) => {
      const positions: number[] = [];
      for (let index = 0; index < 10; index++) positions.push(await journal.append(Buffer.from(`${index}`)));
      const before = positions[6] ?? 0;
      await journal.trim(before);
      const { first } = await journal.bounds();
      expect(first).toBeLessThanOrEqual(before);
      const follower = await Follower.begin(journal, journal.origin);
      const kept = positions.filter((position) => position >= first);
      await follower.texts(kept.length);
      expect(follower.entries.map(({ position }) => position)).toEqual(kept);
      if (trims) {
        expect(first).toBe(before);
        expect(follower.gaps).toEqual([before]);
        expect(await journal.read(positions[0] ?? 0)).toBeUndefined();
      }
      await journal.trim((await journal.bounds()).next);
      const next = await journal.append(Buffer.from('after'));
      expect(next).toBeGreaterThan(positions.at(-1) ?? Infinity);
      expect((await follower.texts(kept.length + 1)).at(-1)).toBe('after');
      follower.stop();
    },
    'says that the broker is away, and goes on by itself when it is back': async ({ journal, away }) => {
      if (!away) return;
      const follower = await Follower.begin(journal, journal.origin);
      for (let index = 0; index < 20; index++) await journal.append(Buffer.from(`${index}`));
      await follower.texts(20);
      const back = await away();
      await until(() => !journal.available);
      const begun = performance.now();
      const asked = [journal.append(Buffer.from('lost')), journal.read(journal.origin), journal.bounds()];
      for (const answer of await Promise.allSettled(asked)) {
        expect(answer).toMatchObject({ status: 'rejected', reason: { code: 'queue.unavailable' } });
      }
      expect(performance.now() - begun).toBeLessThan(2000);
      await back();
      const isBack = performance.now();
      await until(() => journal.available);
      await journal.append(Buffer.from('after'));
      const texts = await follower.texts(21);
      expect(performance.now() - isBack).toBeLessThan(backMs);
      expect(texts).toEqual([...Array.from({ length: 20 }, (_, index) => `${index}`), 'after']);
      expect(follower.lost).toBeUndefined();
      follower.stop();
    },
  };

  describe(`${name} keeps the contract of a journal`, () => {
    for (const [what, run] of Object.entries(cases)) {
      it(what, async () => {
        const bench = await create();
        try {
          await run(bench);
        } finally {
          await bench.dispose();
        }
      });
    }
  });
}

/** Collects what it is handed. */
class Follower {
  readonly entries: JournalEntry[] = [];
  readonly gaps: number[] = [];
  lost: Error | undefined;
  readonly #stop = new AbortController();

  static async begin(journal: Journal, from: number): Promise<Follower> {
    const follower = new Follower();
    const reader = {
      entry: (entry: JournalEntry): void => void follower.entries.push({ ...entry, data: entry.data.slice() }),
      gap: (position: number): void => void follower.gaps.push(position),
      lost: (error: Error): void => {
        follower.lost = error;
      },
    };
    await journal.follow(from, reader, follower.#stop.signal);
    return follower;
  }

  /** Waits until there are as many, and a little for one too many. */
  async texts(count: number): Promise<string[]> {
    await until(() => this.entries.length >= count);
    await sleep(20);
    expect(this.entries).toHaveLength(count);
    return this.entries.map(({ data }) => Buffer.from(data).toString());
  }

  stop(): void {
    this.#stop.abort();
  }
}

async function until(holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error('it did not come to be within 20 s');
    await sleep(5);
  }
}
