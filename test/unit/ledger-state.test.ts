import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Command, Entry, NewRecord, Verdict } from '../../core/ledger/records.ts';
import { type DumpPart, LedgerState } from '../../core/ledger/state.ts';
import { ledgerSettings } from '../contract/ledger-bench.ts';

const settings = { ...ledgerSettings({ agingStepMs: 700 }), retentionMs: 8000, tombstonesMs: 3000, maxEnded: 12 };
const lane = fc.constantFrom('a.default', 'b.default');
const session = fc.constantFrom('one', 'two', 'three');
const id = fc.integer({ min: 0, max: 30 }).map((number) => `m${number}`);
const span = fc.integer({ min: 0, max: 40 }).map((number) => number * 100);
const seldom = <Value>(value: fc.Arbitrary<Value>): fc.Arbitrary<Value | undefined> =>
  fc.option(value, { nil: undefined });

const record: fc.Arbitrary<NewRecord> = fc.record({
  id,
  lane,
  callId: fc.constant('call'),
  ref: fc.nat({ max: 40 }).map((position) => [0, 100, position] as const),
  bytes: fc.constant(10),
  priority: fc.integer({ min: 0, max: 9 }),
  maxAttempts: fc.integer({ min: 1, max: 3 }),
  resultTtlMs: span,
  orderKey: seldom(fc.constantFrom('x', 'y')),
  dedupKey: seldom(fc.constantFrom('p', 'q')),
  dedupWindowMs: span,
  delayMs: seldom(span),
  maxAgeMs: seldom(span),
});
const error = { code: 'x', message: 'y' };
const verdict: fc.Arbitrary<Verdict> = fc.oneof(
  fc.record({ as: fc.constant('ack' as const), effects: fc.array(record, { maxLength: 1 }) }),
  fc.record({ as: fc.constant('retry' as const), delayMs: span, counted: fc.boolean() }),
  fc.record({ as: fc.constant('dead' as const), reason: fc.constant('permanent' as const), error: fc.constant(error) }),
  fc.constant({ as: 'cancelled' as const }),
);
const epoch = fc.integer({ min: 1, max: 3 });
const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('enqueue' as const), records: fc.array(record, { maxLength: 3 }) }),
  },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('lease' as const), lane, max: fc.integer({ min: 1, max: 4 }), ttlMs: span }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('settle' as const), id, lane, epoch, verdict }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('extend' as const), id, epoch, ttlMs: span }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('cancel' as const), id }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('pause' as const), lane, paused: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('replay' as const), id, record }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('purge' as const), filter: fc.record({ id }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('trim' as const), before: fc.nat({ max: 20 }) }) },
  { weight: 1, arbitrary: fc.constant({ do: 'close' as const }) },
  { weight: 1, arbitrary: fc.constant({ do: 'open' as const, format: 1, instance: 'n', settings }) },
  { weight: 3, arbitrary: fc.constant({ do: 'tick' as const }) },
);
const step = fc.record({
  session,
  waitMs: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 9000 })),
  commands: fc.array(command, { maxLength: 4 }),
  /** The entry comes twice. */
  twice: fc.boolean(),
  /** Here the copy is dumped, and goes on from the dump. */
  restart: fc.boolean(),
});

/** As it comes back from a journal. */
function copyOf(state: LedgerState): LedgerState {
  const copy = new LedgerState(ledgerSettings());
  for (const part of dumpOf(state)) copy.load(part);
  return copy;
}

function dumpOf(state: LedgerState): DumpPart[] {
  return JSON.parse(JSON.stringify([...state.dump()])) as DumpPart[];
}

describe('the state of a ledger', () => {
  it('comes to the same from a dump at any point as from the beginning, answers included', () => {
    const property = fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
      const whole = new LedgerState(settings);
      let restarted = new LedgerState(settings);
      let at = 1_767_225_600_000;
      let position = -1;
      const numbers = new Map<string, number>();
      for (const { session, waitMs, commands, twice, restart } of steps) {
        at += waitMs;
        const number = (numbers.get(session) ?? 0) + 1;
        numbers.set(session, number);
        const entry: Entry = { session, number, at, commands };
        for (let time = 0; time < (twice ? 2 : 1); time++) {
          position++;
          const answers = [whole, restarted].map((state) => state.apply(position, at, 100, structuredClone(entry)));
          expect(answers[0]).toEqual(answers[1]);
          if (time === 1) expect(answers[0]).toBeUndefined();
        }
        if (restart) restarted = copyOf(restarted);
        expect(restarted.messages.agenda.next).toBe(whole.messages.agenda.next);
      }
      expect(dumpOf(restarted)).toEqual(dumpOf(whole));
    });
    fc.assert(property, { numRuns: 300, seed: 20_260_101 });
  }, 120_000);

  it('uses no body that was trimmed, and trims none that is in use', () => {
    const property = fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
      const state = new LedgerState(settings);
      let at = 0;
      for (const [index, { waitMs, commands }] of steps.entries()) {
        at += waitMs;
        state.apply(index, at, 100, { session: 's', number: index + 1, at, commands });
        const { live, finished, letters, usage } = state.messages;
        const refs = [
          ...[...live.values()].map(({ ref }) => ref),
          ...[...finished.values()].flatMap(({ ref }) => (ref ? [ref] : [])),
          ...[...letters.values()].map(({ ref }) => ref),
        ];
        const oldest = Math.min(...refs.map(([, , position = 0]) => position));
        expect(usage.oldest).toBe(oldest);
        expect(usage.liveBytes).toBe(refs.length * 100);
        expect(state.trimmed).toBeLessThanOrEqual(oldest);
      }
    });
    fc.assert(property, { numRuns: 200, seed: 20_260_102 });
  }, 120_000);
});

describe('what has ended', () => {
  it('is forgotten before its time when there is more than is to be remembered, the oldest first', () => {
    const state = new LedgerState({ ...settings, maxEnded: 3 });
    for (let number = 0; number < 5; number++) {
      const record: NewRecord = {
        id: `m${number}`,
        lane: 'a.default',
        callId: 'c',
        ref: [0, 1, number],
        bytes: 1,
        priority: 5,
        maxAttempts: 1,
        resultTtlMs: 60_000,
      };
      const commands: Command[] = [
        { do: 'enqueue', records: [record] },
        { do: 'cancel', id: record.id },
      ];
      state.apply(number, 0, 1, { session: 's', number: number + 1, at: 0, commands });
    }
    expect([...state.messages.finished.keys()]).toEqual(['m2', 'm3', 'm4']);
    expect(state.messages.forgottenEarly).toBe(2);
    expect(state.messages.usage.oldest).toBe(2);
  });
});

describe('the sessions of a ledger', () => {
  const held = { do: 'enqueue', records: [] } as const;

  function leasedBy(
    name: string,
    at: number,
    ttlMs = 3_600_000,
  ): { state: LedgerState; say: (who: string, at: number) => void } {
    const state = new LedgerState(settings);
    let position = -1;
    const numbers = new Map<string, number>();
    const apply = (who: string, at: number, command: Command): void => {
      numbers.set(who, (numbers.get(who) ?? 0) + 1);
      state.apply(++position, at, 1, { session: who, number: numbers.get(who) ?? 0, at, commands: [command] });
    };
    const message: NewRecord = {
      id: 'm',
      lane: 'a.default',
      callId: 'c',
      ref: [0, 1, 0],
      bytes: 1,
      priority: 5,
      maxAttempts: 5,
      resultTtlMs: 1000,
    };
    apply(name, at, { ...held, records: [message] });
    apply(name, at, { do: 'lease', lane: 'a.default', max: 1, ttlMs });
    return { state, say: (who, at) => apply(who, at, { do: 'tick' }) };
  }

  it('take one for dead that is silent for 12 s while another is not', () => {
    const { state, say } = leasedBy('dead', 0);
    for (let at = 4000; at < 12_000; at += 4000) say('alive', at);
    expect(state.messages.live.get('m')).toMatchObject({ state: 'leased' });
    say('alive', 12_000);
    expect(state.messages.live.get('m')).toMatchObject({
      state: 'ready',
      attempt: 1,
      errors: [{ code: 'function.crashed' }],
    });
  });

  it('do not count time in which nobody said anything', () => {
    const { state, say } = leasedBy('away', 0, 20_000);
    say('alive', 60_000);
    // Nor against the lease, which nobody could extend.
    expect(state.messages.live.get('m')).toMatchObject({ state: 'leased', leasedUntil: 20_000 + 60_000 });
    say('away', 60_001);
    for (let at = 64_000; at < 80_000; at += 4000) {
      say('alive', at);
      say('away', at);
    }
    expect(state.messages.live.get('m')).toMatchObject({ state: 'leased', attempt: 1 });
    say('alive', 80_000);
    expect(state.messages.live.get('m')).toMatchObject({ state: 'ready' });
  });
});
