import { z } from 'zod';
import { connectionName } from '../../core/config/units.ts';

/** Tokens of printable characters; `*` is one token, `>` at the end all that follow. */
const subject = z
  .string()
  .max(500)
  .regex(
    /^(?:[^\s.*>]+|\*)(?:\.(?:[^\s.*>]+|\*))*(?:\.>)?$|^>$/,
    'expected a subject such as orders.created, orders.* or orders.>',
  )
  .refine((text) => !text.startsWith('$'), 'subjects that begin with "$" are those of the server');

export const natsConnectorConfig = z.strictObject({
  connection: connectionName,
  delivery: z
    .literal('at-most-once', {
      error:
        'must be "at-most-once", written out: the server keeps no message, so what comes while nobody listens, or what a ' +
        'crash interrupts, is gone. Where that may not be, use a connector of kind "jetstream"',
    })
    .describe('What NATS itself promises, which is to be seen in the file.'),
  subjects: z
    .array(subject)
    .min(1)
    .superRefine((subjects, context) => {
      for (const [index, one] of subjects.entries()) {
        const other = subjects.slice(0, index).find((each) => overlap(each.split('.'), one.split('.')));
        if (other === undefined) continue;
        const message = `overlaps with ${other}: what fits both would come twice`;
        context.addIssue({ code: 'custom', path: [index], message });
      }
    })
    .describe('What is listened to; `*` is one token, `>` all that follow.'),
  group: z
    .string()
    .regex(/^[^\s.*>]+$/, 'expected a name without dots, spaces, "*" and ">"')
    .default('millrace')
    .describe('The queue group: of all gateways that listen with the same one, each message goes to one.'),
  buffer: z
    .int()
    .min(0)
    .max(1_000_000)
    .default(1000)
    .describe('Messages that may wait for credit; more are dropped, counted, and told to who waits for a reply.'),
});

/** Whether a subject can fit both. */
function overlap([a, ...restA]: readonly string[], [b, ...restB]: readonly string[]): boolean {
  if (a === undefined || b === undefined) return a === b;
  if (a === '>' || b === '>') return true;
  return (a === b || a === '*' || b === '*') && overlap(restA, restB);
}

export type NatsConnectorConfig = z.output<typeof natsConnectorConfig>;
