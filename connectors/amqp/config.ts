import { z } from 'zod';
import { connectionName } from '../../core/config/units.ts';

const shortText = z
  .string()
  .max(255)
  .refine((text) => Buffer.byteLength(text) <= 255, 'expected at most 255 bytes');
const argument = z.union([z.string(), z.int(), z.boolean()]);
const argumentsOf = (what: string) =>
  z.record(z.string(), argument).default({}).describe(`${what}, by the names that RabbitMQ has for them.`);

const binding = z.strictObject({
  exchange: shortText.min(1).describe('The exchange, which must be there unless it is declared here.'),
  key: shortText.default('').describe('The routing key, in which a topic exchange knows `*` (one word) and `#` (any).'),
  arguments: argumentsOf('What a headers exchange compares'),
  declare: z.boolean().default(false).describe('Makes the exchange, durable, unless it is there.'),
  type: z.enum(['topic', 'direct', 'fanout', 'headers']).default('topic').describe('Of an exchange that is declared.'),
});

const queue = z.strictObject({
  name: shortText.min(1).describe('The queue.'),
  type: z
    .enum(['quorum', 'classic', 'stream'])
    .default('quorum')
    .describe(
      '`quorum`: replicated, and its attempts are counted by the broker. `classic`: neither. `stream`: kept by the broker ' +
        'however often it is read; how far that is, the default store knows.',
    ),
  declare: z
    .boolean()
    .default(true)
    .describe('Makes the queue, durable, unless it is there. `false`: it must be there, and of this type.'),
  deliveryLimit: z
    .int()
    .min(1)
    .optional()
    .describe(
      'Of a quorum queue: what consumers did not settle so often leaves the queue, to its dead letter exchange, or for good ' +
        'if it has none. For gateways that die of a message; what fails otherwise leaves a dead letter here.',
    ),
  arguments: argumentsOf('More that it is declared with (`x-dead-letter-exchange`, `x-max-age`)'),
  bind: z.array(binding).default([]).describe('Bindings of the queue, each made unless it is there.'),
});

export const amqpConnectorConfig = z
  .strictObject({
    connection: connectionName,
    queue: queue.describe(
      'Where the messages come from. `credit` of them are lent to a gateway at most (its prefetch).',
    ),
    start: z
      .union([
        z.enum(['first', 'last', 'next']),
        z.strictObject({ offset: z.int().min(0).describe('The number of a message of the stream.') }),
        z.strictObject({
          timestamp: z.iso.datetime({ offset: true }).describe('The first chunk not older than this.'),
        }),
      ])
      .optional()
      .describe(
        'Where a stream is begun with: `first` (without it), `last` (the last chunk of messages), `next`, `{ offset: 17 }` or ' +
          '`{ timestamp: … }`.',
      ),
    consumer: shortText
      .min(1)
      .optional()
      .describe(
        'Whose place in a stream it is, the name of the connector without it: of all gateways with the same one, one ' +
          'reads, and another goes on when it ends.',
      ),
    replies: z
      .boolean()
      .default(true)
      .describe(
        'With `ack: processed`, a message that names a `reply-to` gets the outcome there, before it is acknowledged.',
      ),
  })
  .superRefine(({ queue: { name, type, deliveryLimit }, start, consumer }, context) => {
    const only = (path: string[], of: string): void =>
      context.addIssue({ code: 'custom', path, message: `only a queue of type ${of} has it; this one is ${type}` });
    if (type !== 'stream' && start !== undefined) only(['start'], 'stream');
    if (type !== 'stream' && consumer !== undefined) only(['consumer'], 'stream');
    if (type === 'stream' && Buffer.byteLength(name + (consumer ?? '')) > 180) {
      const message = 'the names of a stream and of its consumer have at most 180 bytes together';
      context.addIssue({ code: 'custom', path: ['queue', 'name'], message });
    }
    if (type !== 'quorum' && deliveryLimit !== undefined) only(['queue', 'deliveryLimit'], 'quorum');
  });

export type AmqpConnectorConfig = z.output<typeof amqpConnectorConfig>;
export type QueueConfig = AmqpConnectorConfig['queue'];
