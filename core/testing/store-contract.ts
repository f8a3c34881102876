import assert from 'node:assert/strict';
import type { Store } from '../contracts/store.ts';

/** A store to try, and the means to try it with. */
export interface StoreBench {
  /** Started and empty. */
  readonly store: Store;
  /** Moves the clock of the store's host on. */
  readonly advance: (ms: number) => void;
  /** Stops the store and opens what it kept. Absent: it keeps nothing. */
  readonly reopen?: () => Promise<Store>;
  /** Opens what is kept at this moment, as after the sudden end of the process. Absent: it keeps nothing. */
  readonly crash?: () => Promise<Store>;
  readonly dispose: () => Promise<void>;
}

export interface StoreCase {
  readonly name: string;
  readonly run: (bench: StoreBench) => Promise<void>;
}

/** What every store promises. A case that needs `reopen` or `crash` is left out where the bench has none. */
export const storeCases: readonly (StoreCase & { readonly needs?: 'reopen' | 'crash' })[] = [
  {
    name: 'gives back what was put, and nothing for other keys',
    run: async ({ store }) => {
      const version = await store.put('a', 'one');
      assert.deepEqual(await store.get('a'), { value: 'one', version });
      assert.equal(await store.get('b'), undefined);
      assert.equal(await store.get('A'), undefined);
      assert.equal(await store.get(''), undefined);
    },
  },
  {
    name: 'replaces a value and raises its version',
    run: async ({ store }) => {
      const first = await store.put('a', 'one');
      const second = await store.put('a', 'two');
      assert.ok(first !== undefined && second !== undefined && first > 0 && second > first);
      assert.deepEqual(await store.get('a'), { value: 'two', version: second });
    },
  },
  {
    name: 'deletes once',
    run: async ({ store }) => {
      await store.put('a', 'one');
      assert.equal(await store.delete('a'), true);
      assert.equal(await store.delete('a'), false);
      assert.equal(await store.delete('never'), false);
      assert.equal(await store.get('a'), undefined);
      assert.deepEqual(await store.list('', 10), []);
    },
  },
  {
    name: 'writes only over the version that was asked for',
    run: async ({ store }) => {
      assert.equal(await store.put('a', 'x', { ifVersion: 5 }), undefined);
      assert.equal(await store.get('a'), undefined);
      const first = await store.put('a', 'one', { ifVersion: 0 });
      assert.ok(first);
      assert.equal(await store.put('a', 'two', { ifVersion: 0 }), undefined);
      assert.equal(await store.put('a', 'two', { ifVersion: first + 1 }), undefined);
      assert.deepEqual(await store.get('a'), { value: 'one', version: first });
      const second = await store.put('a', 'two', { ifVersion: first });
      assert.deepEqual(await store.get('a'), { value: 'two', version: second });
    },
  },
  {
    name: 'lets exactly one of many concurrent writers win',
    run: async ({ store }) => {
      for (let round = 0; round < 10; round++) {
        const ifVersion = (await store.get('a'))?.version ?? 0;
        const writers = Array.from({ length: 20 }, (_, writer) => store.put('a', `${round}.${writer}`, { ifVersion }));
        const winners = (await Promise.all(writers)).filter((version) => version !== undefined);
        assert.equal(winners.length, 1);
        assert.equal((await store.get('a'))?.version, winners[0]);
      }
    },
  },
  {
    name: 'counts without losing one when all count by compare and set',
    run: async ({ store }) => {
      await store.put('count', '0');
      const add = async (): Promise<void> => {
        for (;;) {
          const record = await store.get('count');
          assert.ok(record);
          const options = { ifVersion: record.version };
          if ((await store.put('count', String(Number(record.value) + 1), options)) !== undefined) return;
        }
      };
      await Promise.all(Array.from({ length: 25 }, add));
      assert.equal((await store.get('count'))?.value, '25');
    },
  },
  {
    name: 'does not take a new record for one that was deleted or has expired',
    run: async ({ store, advance }) => {
      const deleted = await store.put('a', 'old');
      await store.delete('a');
      await store.put('a', 'new', { ttlMs: 1000 });
      assert.equal(await store.put('a', 'late', { ifVersion: deleted }), undefined);
      const expired = (await store.get('a'))?.version;
      advance(1000);
      assert.equal(await store.put('a', 'late', { ifVersion: expired }), undefined);
      assert.ok(await store.put('a', 'newer', { ifVersion: 0 }));
      assert.equal(await store.put('a', 'late', { ifVersion: expired }), undefined);
      assert.equal((await store.get('a'))?.value, 'newer');
    },
  },
  {
    name: 'lists keys by prefix, in order of their bytes',
    run: async ({ store }) => {
      const keys = ['b/2', 'a/1', 'b/10', 'b', 'b/1', 'c', 'b0', 'b/\u{1F600}', 'b/\uFB01', 'b/ä', 'b/z'];
      for (const key of keys) await store.put(key, 'x');
      assert.deepEqual(await store.list('b/', 100), ['b/1', 'b/10', 'b/2', 'b/z', 'b/ä', 'b/\uFB01', 'b/\u{1F600}']);
      assert.equal((await store.list('', 100)).length, keys.length);
      assert.deepEqual(await store.list('b/1', 100), ['b/1', 'b/10']);
      assert.deepEqual(await store.list('none', 100), []);
      assert.deepEqual(await store.list('b/', 0), []);
    },
  },
  {
    name: 'lists page by page without a gap or a repetition',
    run: async ({ store }) => {
      const keys = Array.from({ length: 25 }, (_, index) => `k/${String(index).padStart(2, '0')}`);
      await Promise.all([...keys, 'j', 'k', 'l'].map((key) => store.put(key, 'x')));
      const seen: string[] = [];
      for (let page = await store.list('k/', 7); page.length > 0; page = await store.list('k/', 7, seen.at(-1))) {
        assert.ok(page.length <= 7);
        seen.push(...page);
      }
      assert.deepEqual(seen, keys);
      assert.deepEqual(await store.list('k/', 3, 'a'), keys.slice(0, 3));
      assert.deepEqual(await store.list('k/', 3, 'k/055'), keys.slice(6, 9));
      assert.deepEqual(await store.list('k/', 3, 'z'), []);
    },
  },
  {
    name: 'takes "%", "_" and "*" in a prefix for themselves',
    run: async ({ store }) => {
      for (const key of ['a%b', 'a_b', 'a*b', 'axb', 'a?b']) await store.put(key, 'x');
      assert.deepEqual(await store.list('a%', 10), ['a%b']);
      assert.deepEqual(await store.list('a_', 10), ['a_b']);
      assert.deepEqual(await store.list('a*', 10), ['a*b']);
    },
  },
  {
    name: 'forgets a record when its time is over',
    run: async ({ store, advance }) => {
      await store.put('short', 'x', { ttlMs: 1000 });
      await store.put('kept', 'x');
      advance(999);
      assert.equal((await store.get('short'))?.value, 'x');
      advance(1);
      assert.equal(await store.get('short'), undefined);
      assert.deepEqual(await store.list('', 10), ['kept']);
      assert.equal(await store.delete('short'), false);
    },
  },
  {
    name: 'starts the time anew with each put, and keeps for ever what is put without one',
    run: async ({ store, advance }) => {
      await store.put('again', '1', { ttlMs: 1000 });
      await store.put('ever', '1', { ttlMs: 1000 });
      advance(600);
      await store.put('again', '2', { ttlMs: 1000 });
      await store.put('ever', '2');
      advance(600);
      assert.equal((await store.get('again'))?.value, '2');
      advance(400_000_000);
      assert.equal(await store.get('again'), undefined);
      assert.equal((await store.get('ever'))?.value, '2');
    },
  },
  {
    name: 'keeps odd keys and values as they are',
    run: async ({ store }) => {
      const odd = ['', ' ', '__proto__', 'constructor', 'ключ/鍵/🔑', 'a\u0000b', 'a\nb', "'; DROP TABLE records; --"];
      odd.push('e\u0301', '\u00e9', 'k'.repeat(500), '\u{10FFFF}');
      for (const text of odd) await store.put(text, text);
      for (const text of odd) assert.equal((await store.get(text))?.value, text);
      assert.deepEqual(new Set(await store.list('', 100)), new Set(odd));
      assert.deepEqual(await store.list('a\u0000', 10), ['a\u0000b']);
      const large = '€🔑x'.repeat(8192);
      await store.put('large', large);
      assert.equal((await store.get('large'))?.value, large);
    },
  },
  {
    name: 'applies what one caller asks in the order in which it was asked',
    run: async ({ store }) => {
      const [, first, deleted, gone, , last] = await Promise.all([
        store.put('a', '1'),
        store.get('a'),
        store.delete('a'),
        store.get('a'),
        store.put('a', '2'),
        store.get('a'),
      ]);
      assert.equal(first?.value, '1');
      assert.equal(deleted, true);
      assert.equal(gone, undefined);
      assert.equal(last?.value, '2');
    },
  },
  {
    name: 'says that it is unavailable once it has stopped',
    run: async ({ store }) => {
      await store.put('a', '1');
      await store.stop(5000);
      await assert.rejects(store.get('a'), { code: 'store.unavailable' });
      await assert.rejects(store.put('a', '2'), { code: 'store.unavailable' });
      await assert.rejects(store.delete('a'), { code: 'store.unavailable' });
      await assert.rejects(store.list('', 1), { code: 'store.unavailable' });
      await store.stop(5000);
    },
  },
  {
    name: 'has after a restart what it had before, and goes on with the versions',
    needs: 'reopen',
    run: async ({ store, reopen, advance }) => {
      assert.ok(reopen);
      const kept = await store.put('kept', 'one');
      await store.put('short', 'x', { ttlMs: 1000 });
      const deleted = await store.put('deleted', 'x');
      await store.delete('deleted');
      advance(1000);
      const again = await reopen();
      assert.deepEqual(await again.get('kept'), { value: 'one', version: kept });
      assert.deepEqual(await again.list('', 10), ['kept']);
      const fresh = await again.put('deleted', 'y', { ifVersion: 0 });
      assert.ok(fresh !== undefined && deleted !== undefined && fresh > deleted);
      assert.ok(await again.put('kept', 'two', { ifVersion: kept }));
    },
  },
  {
    name: 'has after a sudden end whatever it had said was put or deleted',
    needs: 'crash',
    run: async ({ store, crash }) => {
      assert.ok(crash);
      await Promise.all(Array.from({ length: 100 }, (_, index) => store.put(`k/${index}`, String(index))));
      await store.delete('k/7');
      const after = await crash();
      assert.equal((await after.list('k/', 200)).length, 99);
      assert.equal((await after.get('k/99'))?.value, '99');
      assert.equal(await after.get('k/7'), undefined);
    },
  },
];

/** Registers every case with the test runner's `it`: `storeContract(() => openMyStore(), it)`. */
export function storeContract(
  open: () => Promise<StoreBench>,
  it: (name: string, run: () => Promise<void>) => unknown,
  keeps: { readonly durable: boolean },
): void {
  for (const { name, needs, run } of storeCases) {
    if (needs !== undefined && !keeps.durable) continue;
    it(name, async () => {
      const bench = await open();
      try {
        await run(bench);
      } finally {
        await bench.dispose();
      }
    });
  }
}
