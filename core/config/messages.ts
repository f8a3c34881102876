import { z } from 'zod';
import { type AckMode, ackModes, type MessageTraits } from '../contracts/message.ts';

/** The keys of a connector of messages that are not its plugin's: what becomes of each message. */
export const messageSchema = z.strictObject({
  function: z.string().min(1).describe('The function that is run.'),
  ack: z
    .enum(ackModes)
    .optional()
    .describe(
      '`processed`: acknowledged when the function has answered, or what failed is in its queue. `enqueued`: when it is ' +
        'in the queue of the function.',
    ),
});

export type MessageSettings = Omit<z.output<typeof messageSchema>, 'ack'> & { readonly ack: AckMode };

/** The schema as a connector of these traits has it: an `ack` in which it could not keep its promise is refused. */
export function messageSchemaOf({ acks }: MessageTraits): typeof messageSchema {
  const [first] = acks;
  const ack = z
    .enum(acks, { error: `expected ${acks.join(' or ')}: this connector can keep its promise in no other mode` })
    .default(first)
    .describe(messageSchema.shape.ack.description ?? '');
  return messageSchema.extend({ ack }) as unknown as typeof messageSchema;
}
