import { pino } from 'pino';
import { expect, it } from 'vitest';
import { messageSchemaOf } from '../../core/config/messages.ts';
import type { ConnectorConfig } from '../../core/config/schema.ts';
import { Catalog } from '../../core/functions/catalog.ts';
import { Intake } from '../../core/intake/intake.ts';
import { manualClock } from '../../core/testing/manual-clock.ts';

const traits = { acks: ['processed'], matches: () => false } as const;

it('dates messages that come at one go alike, and what comes later by a look at the clock', async () => {
  const clock = manualClock(0);
  const intake = new Intake(
    { kind: 'test', name: 'source' } as ConnectorConfig,
    messageSchemaOf(traits).parse({ function: 'run' }),
    traits,
    {
      catalog: new Catalog('openfaas-fn', clock),
      clock,
      logger: pino({ level: 'silent' }),
      metrics: { counter: () => ({ inc: () => undefined }), gauge: () => ({ set: () => undefined }) },
      settleFailed: () => undefined,
    },
  );
  const taken = () => {
    const message = { topic: 't', id: 'id', headers: [], body: Buffer.alloc(0), attempt: 1 };
    const { takenAt, headers } = intake.deliveryOf(message, { kind: 'settles', settle: () => undefined }).request;
    return [takenAt, headers['ce-time']];
  };
  const atFirst = taken();
  clock.advance(5);
  expect([atFirst, taken()]).toEqual([
    [0, '1970-01-01T00:00:00.000Z'],
    [0, '1970-01-01T00:00:00.000Z'],
  ]);
  await Promise.resolve();
  expect(taken()).toEqual([5, '1970-01-01T00:00:00.005Z']);
});
