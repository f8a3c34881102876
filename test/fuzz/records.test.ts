import fc from 'fast-check';
import { expect } from 'vitest';
import type { NewMessage, StoredResult } from '../../core/contracts/queue.ts';
import { packFinished, packItem, unpackFinished, unpackItem } from '../../core/ledger/packed.ts';
import * as ledger from '../../core/ledger/packing.ts';
import type { Finished, Item, NewRecord } from '../../core/ledger/records.ts';
import { entryOf } from '../../core/ledger/replica.ts';
import * as redis from '../../plugins/queues/redis/packing.ts';
import * as sqlite from '../../plugins/queues/sqlite/packing.ts';
import type { Span } from '../../plugins/queues/sqlite/protocol.ts';
import { fuzz } from './fuzz.ts';
import { nearlyBytes, noise } from './inputs.ts';

const texts = fc.oneof(noise, fc.constantFrom('\ud800', 'a\u0000b'));
const numbers = fc.oneof(fc.double(), fc.integer(), fc.maxSafeInteger());
const headers = fc.dictionary(texts, fc.oneof(texts, fc.array(texts, { maxLength: 2 })), { maxKeys: 3 });
const bodies = fc.uint8Array({ maxLength: 60 });
const optional = <Value>(each: fc.Arbitrary<Value>): fc.Arbitrary<Value | undefined> =>
  fc.option(each, { nil: undefined });

const message: fc.Arbitrary<NewMessage> = fc.record({
  id: fc.constant('01JZ8Y4TQ3M4V5W6X7Y8Z9ABCD'),
  lane: fc.constant('work.openfaas-fn'),
  envelope: fc.record({
    callId: texts,
    method: texts,
    path: texts,
    query: texts,
    headers,
    source: texts,
    depth: fc.nat(20),
    acceptedAt: fc.maxSafeNat(),
    callbackUrl: optional(texts),
  }),
  body: bodies,
  priority: fc.oneof(fc.nat(9), numbers),
  maxAttempts: fc.oneof(fc.nat(9), numbers),
  orderKey: optional(texts),
  dedupKey: optional(texts),
  dedupWindowMs: optional(numbers),
  delayMs: optional(numbers),
  maxAgeMs: optional(numbers),
  resultTtlMs: fc.oneof(fc.nat(), numbers),
});

/** As JSON has it: what is undefined is not there, and what is no number is none. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

function isSame(found: NewMessage | undefined, given: NewMessage): void {
  expect(found && Buffer.from(found.body).equals(given.body)).toBe(true);
  expect(plain({ ...found, body: 0 })).toEqual(plain({ ...given, body: 0 }));
}

fuzz<NewMessage, NewMessage | undefined>({
  name: 'a message in the queue sqlite',
  inputs: message,
  parse: (given) => {
    const span: Span = [0, given.body.length];
    const [id, lane, text] = sqlite.packMessage(given, () => span);
    return sqlite.unpackLease(lane, [id, 1, 1, text, given.body]).message;
  },
  holds: isSame,
  planted: (given) => ({
    ...given,
    envelope: { ...given.envelope, callId: encodeURIComponent(given.envelope.callId) },
  }),
});

fuzz<NewMessage, NewMessage | undefined>({
  name: 'a message in the queue redis',
  inputs: message,
  // Its bytes are put together by the scripts, which only the server runs; what it is made of is read here.
  parse: (given) => {
    const [id = '', lane = '', text = '', body = ''] = redis.packMessage(given);
    return {
      id: String(id),
      lane: String(lane),
      body: Buffer.from(body as Buffer),
      ...redis.textOf(Buffer.from(text)),
    };
  },
  holds: isSame,
  planted: (given) => ({ ...given, body: Buffer.from(Buffer.from(given.body).toString()) }),
});

fuzz<NewMessage, NewMessage | undefined>({
  name: 'a message in the ledger',
  inputs: message,
  parse: (given) => {
    ledger.recordOf(given, [0, 0]);
    return ledger.unpackMessage(given, ledger.packMessage(given));
  },
  holds: isSame,
  planted: (given) => ledger.unpackMessage(given, Buffer.from(Buffer.from(ledger.packMessage(given)).toString())),
});

const whole: NewMessage = {
  id: '01JZ8Y4TQ3M4V5W6X7Y8Z9ABCD',
  lane: 'work.openfaas-fn',
  envelope: { callId: 'c', method: 'POST', path: '', query: '', headers: {}, source: 's', depth: 0, acceptedAt: 1 },
  body: Buffer.from('body'),
  priority: 5,
  maxAttempts: 3,
  resultTtlMs: 60_000,
};
fuzz({
  name: 'bytes that are not those of the message',
  inputs: nearlyBytes(
    ledger.packMessage(whole),
    ledger.packResult(whole.id, whole.envelope, { status: 200, headers: {}, body: whole.body }),
  ),
  parse: (bytes) => [
    ledger.unpackMessage(whole, bytes),
    ledger.unpackResult(whole.id, bytes)?.envelope,
    ledger.unpackEnvelope(whole.id, bytes),
  ],
  holds: ([found]) => {
    if (found) expect(found).toMatchObject({ id: whole.id, lane: whole.lane });
  },
  planted: (bytes) => [JSON.parse(Buffer.from(bytes.subarray(4)).toString()) as NewMessage, undefined, undefined],
});

fuzz({
  name: 'an entry of the journal of commands',
  inputs: fc.oneof(
    nearlyBytes(Buffer.from('{"session":"s","number":1,"at":5,"commands":[{"do":"tick"}]}')),
    fc.constantFrom('null', '[]', '{}', '{"commands":7}').map((text) => Buffer.from(text)),
    noise.map((text) => Buffer.from(text)),
  ),
  parse: (bytes) => entryOf(bytes),
  holds: (entry) => {
    if (entry)
      expect([typeof entry.session, typeof entry.number, Array.isArray(entry.commands)]).toEqual([
        'string',
        'number',
        true,
      ]);
  },
  planted: (bytes) => JSON.parse(bytes.toString()) as ReturnType<typeof entryOf>,
});

const result: fc.Arbitrary<StoredResult> = fc.record({
  status: fc.integer({ min: 200, max: 599 }),
  headers,
  body: bodies,
});
fuzz<StoredResult, StoredResult | undefined>({
  name: 'a result in the ledger',
  inputs: result,
  parse: (given) => {
    const small = ledger.packSmallResult(given, 10);
    return small === undefined
      ? ledger.unpackResult(whole.id, ledger.packResult(whole.id, whole.envelope, given))?.result
      : ledger.unpackSmallResult(small);
  },
  holds: (found, given) =>
    expect(plain({ ...found, body: Buffer.from(found?.body ?? []).toString('hex') })).toEqual(
      plain({ ...given, body: Buffer.from(given.body).toString('hex') }),
    ),
  planted: ({ body, ...given }) => ({ ...given, body: Buffer.from(Buffer.from(body).toString()) }),
});

const errors = fc.array(fc.record({ attempt: fc.nat(), at: fc.nat(), code: texts, message: texts }), { maxLength: 2 });
const ref = fc.tuple(fc.nat(), fc.nat(), fc.nat());
const record: fc.Arbitrary<NewRecord> = fc.record({
  id: texts,
  lane: texts,
  callId: texts,
  ref,
  bytes: fc.nat(),
  priority: fc.nat(9),
  maxAttempts: fc.nat(),
  resultTtlMs: fc.nat(),
  orderKey: optional(texts),
  dedupKey: optional(texts),
  dedupWindowMs: optional(fc.nat()),
  delayMs: optional(fc.nat()),
  maxAgeMs: optional(fc.nat()),
  replayOf: optional(texts),
});
const item: fc.Arbitrary<Item> = fc.record({
  record,
  ref,
  sequence: fc.nat(),
  rank: fc.double(),
  acceptedAt: fc.nat(),
  state: fc.constantFrom('ready', 'blocked', 'delayed', 'leased'),
  due: fc.nat(),
  readySince: fc.nat(),
  expiresAt: optional(fc.nat()),
  attempt: fc.nat(),
  epoch: fc.nat(),
  leasedUntil: fc.nat(),
  holder: optional(texts),
  startedAt: optional(fc.nat()),
  cancelRequested: fc.boolean(),
  errors,
});
const overTheWire = <Value>(value: Value): Value => JSON.parse(JSON.stringify(value)) as Value;
fuzz<Item, Item>({
  name: 'what waits, in a snapshot of the ledger',
  inputs: item,
  parse: (given) => unpackItem(overTheWire(packItem(given))),
  holds: (found, given) => expect(plain(found)).toEqual(plain(given)),
  planted: (given) => {
    const { holder, startedAt, ...rest } = unpackItem(overTheWire(packItem(given)));
    return { ...rest, holder: startedAt as unknown as string, startedAt: holder as unknown as number };
  },
});

const finished: fc.Arbitrary<Finished> = fc.record({
  id: texts,
  lane: texts,
  callId: texts,
  sequence: fc.nat(),
  state: fc.constantFrom('succeeded', 'dead', 'expired', 'cancelled'),
  attempt: fc.nat(),
  acceptedAt: fc.nat(),
  startedAt: optional(fc.nat()),
  finishedAt: fc.nat(),
  errors,
  reason: optional(fc.constantFrom('max_attempts', 'crashed')),
  replayOf: optional(texts),
  ref: optional(ref),
  hasResult: fc.boolean(),
  small: optional(texts),
  goneAt: fc.nat(),
  forgetAt: fc.nat(),
});
fuzz<Finished, Finished>({
  name: 'what has ended, in a snapshot of the ledger',
  inputs: finished,
  parse: (given) => unpackFinished(overTheWire(packFinished(given))),
  holds: (found, given) => expect(plain(found)).toEqual(plain(given)),
  planted: (given) => ({ ...unpackFinished(overTheWire(packFinished(given))), startedAt: given.startedAt ?? 0 }),
});
