import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, describe, expect, it } from 'vitest';
import type { Store } from '../../core/contracts/store.ts';
import { storeContract } from '../../core/testing/store-contract.ts';
import sqlite from '../../plugins/stores/sqlite/index.ts';
import { movableClock, quietHost } from '../support/quiet-host.ts';

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'millrace-store-'));
  cleanups.push(() => rm(path, { recursive: true, force: true }));
  return path;
}

async function open(path: string, clock = movableClock()): Promise<Store> {
  const store: Store = sqlite.create(sqlite.config.parse({ path: 'sub/store.sqlite' }), quietHost(clock, path));
  cleanups.push(() => store.stop(1000));
  await store.start();
  return store;
}

describe('store sqlite', () => {
  storeContract(
    async () => {
      const path = await folder();
      const clock = movableClock();
      const store = await open(path, clock);
      return {
        store,
        advance: clock.advance,
        reopen: async () => {
          await store.stop(5000);
          return open(path, clock);
        },
        crash: async () => {
          // What the disk holds at this moment is what a new process would find.
          const copy = await folder();
          await cp(join(path, 'sub'), join(copy, 'sub'), { recursive: true });
          return open(copy, clock);
        },
        dispose: () => store.stop(5000),
      };
    },
    it,
    { durable: true },
  );

  it('is refused while another one has the file open', async () => {
    const path = await folder();
    const first = await open(path);
    await expect(open(path)).rejects.toMatchObject({
      code: 'store.unavailable',
      message: expect.stringContaining('another process holds it'),
    });
    await first.put('a', '1');
    await first.stop(1000);
    expect((await (await open(path)).get('a'))?.value).toBe('1');
  });

  it('is refused when a newer release wrote the file (P21)', async () => {
    const path = await folder();
    await (await open(path)).stop(1000);
    const database = new DatabaseSync(join(path, 'sub/store.sqlite'));
    database.exec('PRAGMA user_version = 99');
    database.close();
    await expect(open(path)).rejects.toMatchObject({
      code: 'store.unavailable',
      message: expect.stringContaining('newer release'),
    });
  });

  it('is refused on a file that is not its own', async () => {
    const path = await folder();
    await (await open(path)).stop(1000);
    const file = join(path, 'sub/store.sqlite');
    await rm(file);
    const database = new DatabaseSync(file);
    database.exec('CREATE TABLE other (x)');
    database.close();
    await expect(open(path)).rejects.toMatchObject({ message: expect.stringContaining('another program') });
    await writeFile(file, 'this is no database at all, but long enough to have a header'.repeat(100));
    await expect(open(path)).rejects.toMatchObject({ code: 'store.unavailable' });
  });

  it('is refused where it cannot write', async () => {
    const path = await folder();
    await writeFile(join(path, 'sub'), 'a file where the folder should be');
    await expect(open(path)).rejects.toMatchObject({ code: 'store.unavailable' });
  });

  it('finishes what was asked before it was stopped', async () => {
    const path = await folder();
    const store = await open(path);
    const puts = Promise.allSettled(Array.from({ length: 50 }, (_, index) => store.put(`k${index}`, 'x')));
    await Promise.resolve();
    await store.stop(5000);
    const done = (await puts).filter(({ status }) => status === 'fulfilled').length;
    expect(await (await open(path)).list('k', 100)).toHaveLength(done);
  });
});
