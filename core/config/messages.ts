import { z } from 'zod';
import { type AckMode, ackModes, type MessageTraits } from '../contracts/message.ts';
import { expressionError } from '../intake/expression.ts';
import { filterSchema } from '../intake/filters.ts';
import { bytes, dnsLabel, duration, timeLimit } from './units.ts';

const expressionText = z
  .string()
  .min(1)
  .superRefine((text, context) => {
    const error = expressionError(text);
    if (error !== undefined) context.addIssue({ code: 'custom', message: `is no JSONata: ${error}` });
  });

const seen = 'It sees `type`, `source`, `subject`, `id`, `time`, `data`, `headers`, `topic` and `key`.';

/** The keys of a connector of messages that are not its plugin's: what becomes of each message. */
export const messageSchema = z.strictObject({
  function: z
    .string()
    .min(1)
    .optional()
    .describe('The function that is run. One of this, `functions` and `annotation`.'),
  functions: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .describe('Several: each gets the message in its queue, and it is acknowledged when all have it.'),
  annotation: z
    .string()
    .min(1)
    .optional()
    .describe(
      'Every function whose annotation of this name (OpenFaaS: `topic`) has the topic among its patterns, which are ' +
        'separated by commas and may have the wildcards of the broker. As functions come and go.',
    ),
  ack: z
    .enum(ackModes)
    .optional()
    .describe(
      '`processed`: acknowledged when the function has answered, or what failed is in its queue. `enqueued`: when it is ' +
        'in the queue of the function. With several functions always that.',
    ),
  filters: z
    .array(filterSchema)
    .default([])
    .describe(
      'Only messages that pass all of these; the others are acknowledged and counted. `exact`, `prefix` and `suffix` ' +
        'compare an attribute of the event, `headers.NAME` or `data.PATH` with a text; `all`, `any` and `not` join filters.',
    ),
  maxAge: duration().optional().describe('A message that is older when it comes goes to the dead letters.'),
  map: expressionText
    .optional()
    .describe(`JSONata that makes the body, as JSON. ${seen} Where it fails the message goes to the dead letters.`),
  order: z
    .strictObject({
      key: expressionText.describe(
        `JSONata. ${seen} Messages with the same key run one after another, retries included; without one in any order.`,
      ),
    })
    .optional()
    .describe('Order by a key.'),
  debounce: z
    .strictObject({
      key: expressionText.default('topic').describe(`JSONata. ${seen}`),
      quiet: timeLimit('1s').describe('It runs when no other one with its key has come for so long.'),
      max: timeLimit('30s').describe('But not later than this after the first one.'),
    })
    .optional()
    .describe('Of messages with the same key that come in a row only the last one runs; the others are acknowledged.'),
  rateLimit: z
    .strictObject({
      limit: z.int().min(1).max(1_000_000).describe('Runs that begin in `per`.'),
      per: timeLimit('1s').describe('The time that they are counted over.'),
      burst: z
        .int()
        .min(1)
        .max(1_000_000)
        .optional()
        .describe('That may begin at once after a rest; `limit` without it.'),
    })
    .optional()
    .describe('No more runs begin than this; the others wait, at the broker where there are many.'),
  reply: z
    .strictObject({
      to: z.string().min(1).max(500).describe('The subject, topic, queue or stream.'),
      connection: dnsLabel.optional().describe('Where; the connection of the connector without it.'),
      key: expressionText
        .optional()
        .describe(`JSONata. ${seen} Of the message that is published, where the broker has keys.`),
      structured: z.boolean().default(false).describe('The whole CloudEvent as one JSON text.'),
    })
    .optional()
    .describe(
      'The outcome is published, as a CloudEvent, with its status as `x-function-status`; tried again by the retry policy of ' +
        'callbacks until the broker has it.',
    ),
  batch: z
    .strictObject({
      size: z.int().min(1).max(10_000).default(100).describe('Messages, at most; no more than `credit`.'),
      bytes: bytes('1MiB').describe('Their bodies, at most.'),
      window: timeLimit('250ms').describe('The first one waits no longer for others.'),
      reportItems: z
        .boolean()
        .default(false)
        .describe(
          'The answer may name those that failed: `{"batchItemFailures": [{"itemIdentifier": ID}]}`, as of AWS Lambda; a ' +
            '`message` beside it is kept with the dead letter. They are run again, each alone, by the policy of the function; of an order key in the queue, the whole batch.',
        ),
    })
    .optional()
    .describe(
      'Several messages in one run, as a JSON list of CloudEvents, or of what `map` made. A batch that fails is run again ' +
        'in halves, so that one bad message ends alone; with `ack: enqueued` it is one message of the queue, and is tried ' +
        'again whole. Never of two order keys.',
    ),
});

type Output = z.output<typeof messageSchema>;
export type MessageSettings = Omit<Output, 'ack'> & { readonly ack: AckMode };

/** The schema as a connector of these traits has it: an `ack` in which it could not keep its promise is refused. */
export function messageSchemaOf({ acks }: MessageTraits): z.ZodType<MessageSettings> {
  const [first] = acks;
  const ack = z
    .enum(acks, { error: `expected ${acks.join(' or ')}: this connector can keep its promise in no other mode` })
    .default(first)
    .describe(messageSchema.shape.ack.description ?? '');
  return messageSchema.extend({ ack }).superRefine((settings, context) => {
    const given = (['function', 'functions', 'annotation'] as const).filter((key) => settings[key] !== undefined);
    if (given.length === 1) return;
    const [, second] = given;
    const message =
      second === undefined
        ? 'one of function, functions and annotation is required'
        : `one of ${given.join(', ')}, not several`;
    context.addIssue({ code: 'custom', path: second === undefined ? [] : [second], message });
  });
}
