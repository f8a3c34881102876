import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { sourceMessageOf } from '../../connectors/kafka/message.ts';
import { share } from '../../connectors/kafka/share.ts';
import { matchesTopic, subscribesTo } from '../../connectors/kafka/topics.ts';
import { type Receipt, Watermark } from '../../connectors/kafka/watermark.ts';
import type { GroupMember } from '../../plugins/connections/kafka/driver.ts';
import { decodePage } from '../../plugins/connections/kafka/page.ts';

describe('the watermark of a partition', () => {
  it('is the oldest offset that is not settled, whatever the order and the holes', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 3000 }),
        fc.infiniteStream(fc.nat()),
        (steps, choices) => {
          const watermark = new Watermark(10);
          const open: Receipt[] = [];
          let offset = 9;
          let settled = 0;
          const settleOne = (): void => {
            const [receipt] = open.splice((choices.next().value ?? 0) % open.length, 1);
            if (receipt) watermark.settle(receipt);
            settled++;
          };
          for (const step of steps) {
            offset += step;
            open.push(watermark.receive(offset));
            if (open.length > 16) settleOne();
            expect(watermark.next).toBe(Math.min(...open.map((each) => each.offset)));
            expect(watermark.unsettled).toBe(open.length);
          }
          watermark.pass(offset + 7);
          while (open.length > 0) settleOne();
          expect(watermark.next).toBe(offset + 7);
          expect(watermark.done).toBe(settled);
        },
      ),
      { numRuns: 30 },
    );
  });
});

describe('the share of each member', () => {
  const topics = ['a', 'b', 'c'];
  const members = fc.integer({ min: 1, max: 7 });
  const counts = fc
    .tuple(fc.nat(9), fc.nat(9), fc.nat(9))
    .map((all) => new Map(topics.map((topic, i) => [topic, all[i] ?? 0])));
  const member = (
    memberId: string,
    wanted: readonly string[],
    owned: GroupMember['owned'] = new Map(),
  ): GroupMember => ({
    memberId,
    topics: wanted,
    owned,
  });
  const listOf = (shares: ReturnType<typeof share>): string[] =>
    [...shares.values()].flatMap((own) => [...own].flatMap(([topic, all]) => all.map((each) => `${topic}:${each}`)));
  const all = (given: ReadonlyMap<string, number>): string[] =>
    [...given].flatMap(([topic, count]) => Array.from({ length: count }, (_, partition) => `${topic}:${partition}`));
  const sizeOf = (own: GroupMember['owned'] | undefined): number => [...(own?.values() ?? [])].flat().length;

  it('is each partition once, evenly, and stays where it was when nobody comes or goes', () => {
    fc.assert(
      fc.property(members, counts, (size, given) => {
        const group = Array.from({ length: size }, (_, index) => member(`m${index}`, topics));
        const first = share(group, given);
        expect(listOf(first).toSorted()).toEqual(all(given).toSorted());
        const sizes = [...first.values()].map(sizeOf);
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
        const again = share(
          group.map(({ memberId }) => member(memberId, topics, first.get(memberId))),
          given,
        );
        const sorted = (own: GroupMember['owned'] = new Map()) => listOf(new Map([['', own]])).toSorted();
        for (const { memberId } of group) expect(sorted(again.get(memberId))).toEqual(sorted(first.get(memberId)));
      }),
    );
  });

  it('moves no more than a newcomer needs', () => {
    fc.assert(
      fc.property(members, counts, (size, given) => {
        const before = share(
          Array.from({ length: size }, (_, index) => member(`m${index}`, topics)),
          given,
        );
        const group = [...before].map(([memberId, owned]) => member(memberId, topics, owned));
        const after = share([...group, member('new', topics)], given);
        expect(listOf(after).toSorted()).toEqual(all(given).toSorted());
        for (const [memberId, owned] of before) {
          const lost = sizeOf(owned) - sizeOf(after.get(memberId));
          const kept = new Set(listOf(new Map([['', after.get(memberId) ?? new Map()]])));
          const stayed = listOf(new Map([['', owned]])).filter((name) => kept.has(name));
          expect(stayed).toHaveLength(sizeOf(owned) - Math.max(0, lost));
        }
      }),
    );
  });

  it('is only of topics that a member reads, and of what is claimed twice goes to one', () => {
    const claimed = new Map([['a', [0, 1, 2]]]);
    const shares = share(
      [member('x', ['a'], claimed), member('y', ['a', 'b'], claimed)],
      new Map([
        ['a', 3],
        ['b', 2],
      ]),
    );
    expect(listOf(shares).toSorted()).toEqual(['a:0', 'a:1', 'a:2', 'b:0', 'b:1']);
    expect([...(shares.get('x')?.keys() ?? [])]).toEqual(['a']);
  });
});

describe('topics', () => {
  it('are names, or one regular expression, which never finds those of the broker', () => {
    expect(subscribesTo(['a', 'b'])('a')).toBe(true);
    expect(subscribesTo(['a', 'b'])('ab')).toBe(false);
    expect(subscribesTo('/^a|_/')('ab')).toBe(true);
    expect(subscribesTo('/^a|_/')('__consumer_offsets')).toBe(false);
  });
  it('fit the pattern of an annotation, of which a broken one fits nothing', () => {
    expect(matchesTopic('a.b', 'a.b')).toBe(true);
    expect(matchesTopic('a.b', 'aXb')).toBe(false);
    expect(matchesTopic('/^a\\./', 'a.b')).toBe(true);
    expect(matchesTopic('/(/', '(')).toBe(false);
  });
});

describe('a record', () => {
  it('of any time its producer gave has a time that can be told', () => {
    const record = { offset: 1, key: null, value: null, headers: [] };
    const atOf = (timestamp: number): number | undefined =>
      sourceMessageOf('t', 0, { ...record, timestamp }, { attempt: 1, keyed: true, clock: { now: () => 5 } }).at;
    expect([-1, 7, Number.MAX_SAFE_INTEGER].map(atOf)).toEqual([5, 7, 5]);
  });
});

describe('a page', () => {
  interface Batch {
    readonly first: number;
    readonly lastDelta: number;
    readonly attributes?: number;
    readonly producer?: number;
    readonly records: readonly Buffer[];
  }
  const [created, appended] = [1000, 2000];
  const varint = (value: number): number[] => {
    const bytes: number[] = [];
    let rest = value >= 0 ? 2 * value : -2 * value - 1;
    for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
    return [...bytes, rest];
  };
  type Bytes = string | Uint8Array | null;
  const sized = (text: Bytes): number[] => {
    const bytes = text === null ? [] : Buffer.from(text as string);
    return [...varint(text === null ? -1 : bytes.length), ...bytes];
  };
  const record = (
    delta: number,
    value: Bytes,
    key: Bytes = 'k',
    { age = 0, headers = [] }: { age?: number; headers?: readonly (readonly [string, Bytes])[] } = {},
  ): Buffer => {
    const pairs = headers.flatMap(([name, header]) => [...sized(name), ...sized(header)]);
    const body = [
      0,
      ...varint(age),
      ...varint(delta),
      ...sized(key),
      ...sized(value),
      ...varint(headers.length),
      ...pairs,
    ];
    return Buffer.from([...varint(body.length), ...body]);
  };
  const marker = (type: 0 | 1): Buffer => record(0, 'marker', Buffer.from([0, 0, 0, type]));
  function batch({ first, lastDelta, attributes = 0, producer = -1, records }: Batch): Buffer {
    const head = Buffer.alloc(61);
    const body = Buffer.concat(records);
    head.writeBigInt64BE(BigInt(first), 0);
    head.writeInt32BE(49 + body.length, 8);
    head.writeInt8(2, 16);
    head.writeInt16BE(attributes, 21);
    head.writeInt32BE(lastDelta, 23);
    head.writeBigInt64BE(BigInt(created), 27);
    head.writeBigInt64BE(BigInt(appended), 35);
    head.writeBigInt64BE(BigInt(producer), 43);
    head.writeInt32BE(records.length, 57);
    return Buffer.concat([head, body]);
  }
  /** An answer to a fetch of version 4. */
  function answer(records: Buffer, end: number, aborted: readonly { producer: number; first: number }[] = []): Buffer {
    const int = (value: number): Buffer => Buffer.from(new Uint32Array([value]).buffer).swap32();
    const long = (value: number): Buffer => {
      const bytes = Buffer.alloc(8);
      bytes.writeBigInt64BE(BigInt(value));
      return bytes;
    };
    const list = aborted.flatMap(({ producer, first }) => [long(producer), long(first)]);
    const name = Buffer.from([0, 1, 0x74]);
    return Buffer.concat([
      int(0),
      int(1),
      name,
      int(1),
      int(0),
      Buffer.alloc(2),
      long(end),
      long(end),
      int(aborted.length),
      ...list,
      int(records.length),
      records,
    ]);
  }
  const valuesOf = ({ messages }: Awaited<ReturnType<typeof decodePage>>): string[] =>
    [...messages].map(({ offset, value }) => `${offset} ${Buffer.from(value ?? []).toString()}`);

  it('gives each record as its sender made it, dated by its sender or by the broker', async () => {
    const some = fc.option(fc.uint8Array({ maxLength: 300 }));
    const records = fc.array(
      fc.record({ age: fc.maxSafeNat(), key: some, value: some, headers: fc.array(fc.tuple(fc.string(), some)) }),
    );
    await fc.assert(
      fc.asyncProperty(records, fc.maxSafeNat(), fc.boolean(), async (all, first, isDated) => {
        const made = all.map(({ value, key, ...rest }, delta) => record(delta, value, key, rest));
        const whole = batch({ first, lastDelta: all.length, attributes: isDated ? 0x08 : 0, records: made });
        const page = await decodePage(answer(whole, 0), 4, first);
        const expected = all.map((each, delta) => ({
          ...each,
          age: undefined,
          offset: first + delta,
          timestamp: isDated ? appended : created + each.age,
        }));
        const plain = (bytes: Uint8Array | null): Uint8Array | null => bytes && new Uint8Array(bytes);
        const found = [...page.messages].map(({ key, value, headers, ...rest }) => ({
          ...rest,
          key: plain(key),
          value: plain(value),
          headers: headers.map(([name, header]) => [name, plain(header)]),
        }));
        expect(found).toEqual(expected);
      }),
    );
  });

  it('tells a batch that is not what its head says', async () => {
    const good = record(0, 'value', 'key', { headers: [['name', 'text']] });
    const longer = Buffer.concat([good, good.subarray(0, -1)]);
    for (const records of [[good, Buffer.alloc(0)], [good.subarray(0, -1)], [longer, Buffer.alloc(0)]]) {
      const page = await decodePage(answer(batch({ first: 0, lastDelta: 1, records }), 2), 4, 0);
      expect(() => [...page.messages]).toThrow('not what the format says');
    }
  });

  it.each([-12, -61, 0, 48])('ends at a batch that claims to have %i bytes (P18)', async (length) => {
    const broken = batch({ first: 0, lastDelta: 0, records: [record(0, 'a')] });
    broken.writeInt32BE(length, 8);
    await expect(decodePage(answer(broken, 1), 4, 0)).rejects.toThrow('not what the format says');
  });

  it('makes no room for transactions that are only claimed (P18)', async () => {
    const claims = answer(Buffer.alloc(0), 0);
    claims.writeInt32BE(2 ** 24, claims.length - 8);
    await expect(decodePage(claims, 4, 0)).rejects.toThrow(RangeError);
  });

  it('goes on behind a batch of which compaction has left nothing', async () => {
    const gzip = 1;
    const empty = batch({ first: 5, lastDelta: 9, attributes: gzip, records: [] });
    const page = await decodePage(answer(empty, 15), 4, 7);
    expect({ ...page, messages: [...page.messages] }).toEqual({ messages: [], next: 15, end: 15 });
  });

  it('goes on behind the last one that compaction has left of a batch', async () => {
    const page = await decodePage(answer(batch({ first: 5, lastDelta: 9, records: [record(1, 'a')] }), 20), 4, 5);
    expect(valuesOf(page)).toEqual(['6 a']);
    expect(page.next).toBe(15);
  });

  it('begins where it was asked for, and leaves out a batch that is cut off', async () => {
    const whole = batch({ first: 0, lastDelta: 2, records: [record(0, 'a'), record(1, 'b'), record(2, 'c')] });
    const cut = batch({ first: 3, lastDelta: 0, records: [record(0, 'd')] }).subarray(0, -1);
    const page = await decodePage(answer(Buffer.concat([whole, cut]), 4), 4, 1);
    expect(valuesOf(page)).toEqual(['1 b', '2 c']);
    expect(page.next).toBe(3);
  });

  it('leaves out what a transaction took back, and nothing of others meanwhile or of the next one', async () => {
    const [transactional, control] = [0x10, 0x30];
    const one = (first: number, producer: number, value: string, attributes: number): Buffer =>
      batch({ first, lastDelta: 0, attributes, producer, records: [record(0, value)] });
    const end = (first: number, producer: number, type: 0 | 1): Buffer =>
      batch({ first, lastDelta: 0, attributes: control, producer, records: [marker(type)] });
    const log = [
      one(0, 7, 'taken back', transactional),
      one(1, 8, 'kept', transactional),
      one(2, 7, 'no transaction', 0),
      end(3, 7, 0),
      one(4, 7, 'the next one', transactional),
      end(5, 8, 1),
      end(6, 7, 1),
    ];
    const page = await decodePage(answer(Buffer.concat(log), 7, [{ producer: 7, first: 0 }]), 4, 0);
    expect(valuesOf(page)).toEqual(['1 kept', '2 no transaction', '4 the next one']);
    expect(page.next).toBe(7);
  });
});
