import { z } from 'zod';
import { connectionName, timeLimit } from '../../core/config/units.ts';

const name = z
  .string()
  .max(200)
  .regex(/^[^\s.*>/\\]+$/, 'expected a name without dots, spaces, slashes, "*" and ">"');

const subject = z
  .string()
  .max(500)
  .regex(
    /^(?:[^\s.*>]+|\*)(?:\.(?:[^\s.*>]+|\*))*(?:\.>)?$|^>$/,
    'expected a subject such as orders.created, orders.* or orders.>',
  );

export const jetstreamConnectorConfig = z.strictObject({
  connection: connectionName,
  stream: name.describe('The stream, which must be there.'),
  subjects: z
    .array(subject)
    .default([])
    .describe('Of the stream, only these; all of them without. More than one needs NATS 2.10.'),
  durable: name.describe('The consumer: gateways with the same one share its messages. Made unless it is there.'),
  start: z
    .union([
      z.enum(['all', 'new', 'last']),
      z.strictObject({ sequence: z.int().min(1).describe('The number of a message of the stream.') }),
      z.strictObject({ time: z.iso.datetime({ offset: true }).describe('The first message not older than this.') }),
    ])
    .default('all')
    .describe('Where a consumer that is made begins: `all`, `new`, `last`, `{ sequence: 17 }` or `{ time: … }`.'),
  ackWait: timeLimit('30s').describe(
    'A gateway that has said nothing of a message for so long is taken for dead, and another one gets it.',
  ),
});

export type JetstreamConnectorConfig = z.output<typeof jetstreamConnectorConfig>;
