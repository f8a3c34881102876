import { z } from 'zod';
import { connectionName, timeLimit } from '../../core/config/units.ts';
import { expressionOf } from './topics.ts';

const topic = z
  .string()
  .max(249)
  .regex(/^(?!\.{1,2}$)[A-Za-z0-9._-]+$/, 'expected the name of a topic: letters, digits, ".", "_" and "-"');

const expression = z
  .string()
  .max(1000)
  .superRefine((text, context) => {
    if (!/^\/.+\/$/.test(text)) {
      context.addIssue({ code: 'custom', message: 'expected a list of topics, or one regular expression as /…/' });
    } else if (expressionOf(text) === undefined) {
      context.addIssue({ code: 'custom', message: `${text} is no regular expression` });
    }
  });

export const kafkaConnectorConfig = z.strictObject({
  connection: connectionName,
  subscribe: z
    .strictObject({
      topics: z
        .union([z.array(topic).min(1), expression])
        .describe(
          'Topics, which must be there; or one regular expression, `/^orders\\./`, of which new topics are found as they ' +
            'come. The broker’s own are never among them.',
        ),
      group: z
        .string()
        .min(1)
        .max(249)
        .describe('The consumer group: gateways with the same one share the partitions. It is for gateways alone.'),
      start: z
        .enum(['earliest', 'latest'])
        .default('earliest')
        .describe(
          'Where the group begins with a topic that it has committed nothing of. A partition that is added later is read from its first message.',
        ),
    })
    .describe('What is read.'),
  concurrency: z
    .strictObject({
      perPartition: z
        .int()
        .min(1)
        .max(10_000)
        .default(16)
        .describe(
          'Messages of one partition that may be unsettled at once. As many may run once more after a crash; with 1 they begin one after another.',
        ),
      keyed: z
        .boolean()
        .default(true)
        .describe(
          'Messages of a topic with the same record key run one after another, retries included; those without one in any ' +
            'order. `order` goes before this. A `batch` never has two keys: say `false` where it is to.',
        ),
    })
    .prefault({})
    .describe('How many at once.'),
  outOfRange: z
    .enum(['stop', 'earliest', 'latest'])
    .default('stop')
    .describe(
      'When messages that were to be read next are not kept any more: read no more of the partition until somebody has ' +
        'looked at it, go on with the first one that is kept, or with what comes from now on.',
    ),
  sessionTimeout: timeLimit('30s').describe(
    'A gateway that has not been heard of for so long is taken for dead, and others get its partitions.',
  ),
  drainTimeout: timeLimit('10s').describe(
    'So long a rebalance waits for what runs. What still runs then, and goes to another gateway, runs there once more.',
  ),
  refresh: timeLimit('30s').describe('How often new topics and partitions are looked for.'),
});

export type KafkaConnectorConfig = z.output<typeof kafkaConnectorConfig>;
