import { randomUUID } from 'node:crypto';
import type { ConfirmChannel } from 'amqplib';
import { pino } from 'pino';
import { afterEach, expect, it } from 'vitest';
import { sleep, systemClock } from '../../core/contracts/clock.ts';
import type { JournalReader } from '../../core/contracts/journal.ts';
import { createId } from '../../core/delivery/ids.ts';
import { LedgerQueue } from '../../core/ledger/queue.ts';
import { unaborted } from '../../core/testing/queue-trial.ts';
import type { Amqp } from '../../plugins/connections/amqp/connection.ts';
import { Catalog } from '../../plugins/queues/amqp/catalog.ts';
import { encode } from '../../plugins/queues/amqp/entry.ts';
import { AmqpJournal } from '../../plugins/queues/amqp/journal.ts';
import { publish } from '../../plugins/queues/amqp/scan.ts';
import { declareStream, hasStream } from '../../plugins/queues/amqp/stream.ts';
import { plainMessage } from '../support/plain-message.ts';
import { quietHost } from '../support/quiet-host.ts';
import { describeWithBroker } from '../support/with-broker.ts';
import { dial } from './amqp-bench.ts';
import { ledgerSettings } from './ledger-bench.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error('it did not come to be within 20 s');
    await sleep(20);
  }
}

await describeWithBroker('amqp', 'a journal of several streams', (url) => {
  const connect = async (): Promise<Amqp> => {
    const amqp = await dial(url);
    cleanups.push(() => amqp.stop(1000));
    return amqp;
  };
  const make = (amqp: Amqp, prefix: string, name = 'j', segmentBytes = 100): AmqpJournal => {
    const catalog = new Catalog(amqp, `${prefix}-catalog`);
    const logger = pino({ level: 'silent' });
    return new AmqpJournal({ amqp, catalog, name, prefix, logger, segmentBytes, caches: false });
  };
  const open = async (amqp: Amqp, prefix: string): Promise<AmqpJournal> => {
    await declareStream(amqp, `${prefix}-catalog`);
    const journal = make(amqp, prefix);
    cleanups.push(() => journal.close());
    await journal.open();
    return journal;
  };
  /** Entries, until there are so many streams. */
  const fill = async (journal: AmqpJournal, amqp: Amqp, prefix: string, generation: number): Promise<number[]> => {
    const positions: number[] = [];
    const isThere = (): Promise<boolean> => hasStream(amqp, `${prefix}-j.${generation}`);
    while (!(await isThere())) {
      for (let index = 0; index < 10; index++) {
        positions.push(await journal.append(Buffer.from(`entry ${positions.length}`)));
      }
    }
    return positions;
  };
  const collect = async (journal: AmqpJournal, from: number): Promise<{ texts: string[]; gaps: number[] }> => {
    const stop = new AbortController();
    cleanups.push(async () => stop.abort());
    const heard = { texts: [] as string[], gaps: [] as number[] };
    const reader: JournalReader = {
      entry: ({ data }) => void heard.texts.push(Buffer.from(data).toString()),
      gap: (position) => void heard.gaps.push(position),
      lost: (error) => void heard.texts.push(`lost: ${error.message}`),
    };
    await journal.follow(from, reader, stop.signal);
    return heard;
  };

  it('deletes whole streams when it is trimmed, and tells those who have not read them', async () => {
    const [prefix, amqp] = [randomUUID(), await connect()];
    const journal = await open(amqp, prefix);
    const positions = await fill(journal, amqp, prefix, 4);
    const before = positions.at(-1) ?? 0;
    await journal.trim(before);
    const { first, next } = await journal.bounds();
    expect(first).toBeGreaterThan(positions[0] ?? 0);
    expect(first).toBeLessThanOrEqual(before);
    expect(next).toBe(before + 1);
    expect(await hasStream(amqp, `${prefix}-j.0`)).toBe(false);
    expect(await journal.read(positions[0] ?? 0)).toBeUndefined();
    expect(Buffer.from((await journal.read(before)) ?? []).toString()).toBe(`entry ${positions.length - 1}`);
    // Also one who opens it now, and one whose journal was open all the time.
    for (const each of [journal, await open(await connect(), prefix)]) {
      expect(await each.bounds()).toEqual({ first, next });
      const { texts, gaps } = await collect(each, each.origin);
      const kept = positions.filter((position) => position >= first);
      await until(() => texts.length >= kept.length);
      expect(texts).toEqual(kept.map((position) => `entry ${positions.indexOf(position)}`));
      expect(gaps).toEqual([first]);
    }
  });

  it('lets one go on whose stream others have left and deleted', async () => {
    const [prefix, amqp] = [randomUUID(), await connect()];
    const slow = await connect();
    const [channel, confirmChannel] = [slow.channel.bind(slow), slow.confirmChannel.bind(slow)];
    const channels: ConfirmChannel[] = [];
    slow.confirmChannel = async () => {
      const opened = await confirmChannel();
      channels.push(opened);
      return opened;
    };
    const [journal, behind] = [await open(amqp, prefix), await open(slow, prefix)];
    const heard = await collect(behind, behind.origin);
    const first = await journal.append(Buffer.from('first'));
    await until(() => heard.texts.length === 1);
    // It hears nothing while the others go on, as a gateway that is stopped.
    slow.channel = slow.confirmChannel = () => Promise.reject(new Error('kept away'));
    await Promise.allSettled(channels.map(async (each) => each.close()));
    await until(() => !behind.available);
    const positions = await fill(journal, amqp, prefix, 4);
    await journal.trim(positions.at(-1) ?? 0);
    const { first: kept } = await journal.bounds();
    expect(kept).toBeGreaterThan(first + 1);
    slow.channel = channel;
    slow.confirmChannel = confirmChannel;
    await until(() => behind.available);
    await behind.append(Buffer.from('mine'));
    await until(() => heard.texts.at(-1) === 'mine');
    expect(heard.gaps).toEqual([kept]);
  });

  it('deletes what a crash has left of forgotten streams', async () => {
    const [prefix, amqp] = [randomUUID(), await connect()];
    const journal = await open(amqp, prefix);
    await fill(journal, amqp, prefix, 3);
    await until(async () => (await catalogued(amqp, prefix)).has(2));
    await journal.close();
    const bases = await catalogued(amqp, prefix);
    const first = { generation: 2, base: bases.get(2) ?? 0 };
    // As `trim` does it, killed before it has deleted anything.
    await new Catalog(amqp, `${prefix}-catalog`).write({ journal: 'j', first, segment: first });
    const next = await open(await connect(), prefix);
    expect((await next.bounds()).first).toBe(first.base);
    for (const generation of [0, 1]) expect(await hasStream(amqp, `${prefix}-j.${generation}`)).toBe(false);
  });

  it('finds the seal that a crash has left out of the catalog, and what counts for nothing after it', async () => {
    const [prefix, amqp] = [randomUUID(), await connect()];
    const journal = await open(amqp, prefix);
    const position = await journal.append(Buffer.from('before'));
    await journal.close();
    await declareStream(amqp, `${prefix}-j.1`);
    for (const [kind, text] of [
      ['seal', ''],
      ['entry', 'void'],
      ['seal', ''],
    ] as const) {
      const id = randomUUID().replaceAll('-', '').slice(0, 16);
      await publish(amqp, `${prefix}-j.0`, encode({ kind, id, bytesBefore: 0, data: Buffer.from(text) }));
    }
    const next = await open(await connect(), prefix);
    const after = await next.append(Buffer.from('after'));
    expect(after).toBeGreaterThan(position);
    expect((await catalogued(amqp, prefix)).has(1)).toBe(true);
    for (const each of [next, await open(await connect(), prefix)]) {
      const { texts, gaps } = await collect(each, each.origin);
      await until(() => texts.length >= 2);
      expect(texts).toEqual(['before', 'after']);
      expect(gaps).toEqual([]);
      expect(Buffer.from((await each.read(after)) ?? []).toString()).toBe('after');
    }
  });

  it('says so when a stream in the middle was removed', async () => {
    const [prefix, amqp] = [randomUUID(), await connect()];
    const journal = await open(amqp, prefix);
    await fill(journal, amqp, prefix, 3);
    await until(async () => (await catalogued(amqp, prefix)).has(2));
    await journal.close();
    await (await amqp.channel()).deleteQueue(`${prefix}-j.1`);
    await expect(make(amqp, prefix).open()).rejects.toMatchObject({
      code: 'config.invalid',
      message: expect.stringContaining(`${prefix}-j.1 is gone`),
    });
  });

  it('carries a whole queue over snapshots, streams that follow each other, and several gateways', async () => {
    const prefix = randomUUID();
    const gateway = async (): Promise<LedgerQueue> => {
      const amqp = await connect();
      const [commands, bodies, snapshots] = ['commands', 'bodies', 'snapshots'].map((name) =>
        make(amqp, prefix, name, 5000),
      );
      if (!commands || !bodies || !snapshots) throw new Error('three were made');
      const journals = {
        commands,
        bodies,
        snapshots,
        open: async (): Promise<'page-cache'> => {
          await declareStream(amqp, `${prefix}-catalog`);
          await Promise.all([commands.open(), bodies.open(), snapshots.open()]);
          return 'page-cache';
        },
        close: async (): Promise<void> => {
          await Promise.all([commands.close(), bodies.close(), snapshots.close()]);
        },
      };
      const queue = new LedgerQueue(journals, {
        host: quietHost(systemClock),
        settings: ledgerSettings(),
        keeping: { snapshotBytes: 4000, trimBytes: 2000, slackBytes: 2000 },
      });
      cleanups.push(() => queue.stop(2000));
      await queue.start();
      return queue;
    };
    const [one, two] = [await gateway(), await gateway()];
    const waiting = new Set<string>();
    const take = async (queue: LedgerQueue, max: number): Promise<void> => {
      const leases = await queue.lease('work.default', max, { ttlMs: 60_000, waitMs: 0, signal: unaborted });
      for (const { receipt, message } of leases) {
        expect(waiting.delete(message.id)).toBe(true);
        expect(await queue.settle(receipt, { kind: 'ack' })).toBe('settled');
      }
    };
    const amqp = await connect();
    const isForgotten = async (): Promise<boolean> => !(await hasStream(amqp, `${prefix}-commands.0`));
    while (!(await isForgotten())) {
      for (const queue of [one, two]) {
        const messages = Array.from({ length: 10 }, () => plainMessage(createId(Date.now())));
        await queue.enqueue(messages);
        for (const { id } of messages) waiting.add(id);
        await take(queue, 8);
      }
    }
    const three = await gateway();
    while (waiting.size > 0) await take(three, 50);
    const [stats] = await three.lanes();
    expect(stats).toMatchObject({ ready: 0, leased: 0 });
    expect(stats?.totals.succeeded).toBe(stats?.totals.accepted);
  }, 60_000);
});

async function catalogued(amqp: Amqp, prefix: string): Promise<ReadonlyMap<number, number>> {
  const { bases } = await new Catalog(amqp, `${prefix}-catalog`).load('j', unaborted);
  return bases;
}
