import { z } from 'zod';
import { dnsLabel, duration } from './units.ts';

const input = z.strictObject({
  topic: z.string().min(1).default('test').describe('The subject, topic, queue or stream that it comes by.'),
  id: z.string().min(1).optional().describe('Its id; a number without it.'),
  key: z.string().optional().describe("The broker's own key."),
  headers: z.record(z.string().min(1), z.string()).default({}).describe('Its headers.'),
  body: z.unknown().optional().describe('A text as it is, anything else as JSON.'),
  age: duration('0s').describe('How long ago it was sent.'),
  attempt: z.int().min(1).default(1).describe('How often the broker gave it.'),
});

const response = z.strictObject({
  status: z.int().min(100).max(599).default(200).describe('The status.'),
  headers: z.record(z.string().min(1), z.string()).default({}).describe('The headers.'),
  body: z.unknown().optional().describe('A text as it is, anything else as JSON.'),
});

/** One of `tests`: a message, what the function answers, and what must come of it. */
export const testSchema = z
  .strictObject({
    name: z.string().min(1).describe('What it is about.'),
    connector: dnsLabel.optional().describe('The connector of messages that it comes by.'),
    call: z
      .string()
      .min(1)
      .optional()
      .describe(
        'Instead of a connector: the function that is called, through its queue. What a schedule or a caller would do.',
      ),
    env: z
      .record(z.string().min(1), z.string())
      .default({})
      .describe('Environment variables that the file needs; for all tests, and only for them.'),
    input: z.union([input, z.array(input).min(1)]).describe('The message, or several that come together.'),
    function: z
      .strictObject({
        responses: z
          .array(response)
          .min(1)
          .describe('What it answers, one after the other; the last one from then on.'),
      })
      .prefault({ responses: [{}] })
      .describe('The functions: none of them is really run.'),
    expect: z
      .strictObject({
        invocations: z.int().min(0).optional().describe('How often a function was run, retries included.'),
        functions: z.array(z.string().min(1)).optional().describe('Which ones were run, each named once.'),
        orderKey: z.string().optional().describe('The order key of the first message.'),
        request: z.unknown().optional().describe('The body that the function got first: JSON where it is JSON.'),
        headers: z.record(z.string().min(1), z.string()).optional().describe('Headers that it got, among others.'),
        settled: z
          .enum(['ack', 'retry'])
          .optional()
          .describe('What the broker is told of every message: `ack`, or that it stays.'),
        deadLetter: z
          .union([z.literal(false), z.strictObject({ reason: z.string().optional().describe('Why.') })])
          .optional()
          .describe('One that there must be, or `false`: none.'),
        published: z
          .array(
            z.strictObject({
              to: z.string().describe('Where.'),
              key: z.string().optional().describe('With which key.'),
              body: z.unknown().optional().describe('JSON where it is JSON.'),
            }),
          )
          .optional()
          .describe('What was published, in order.'),
      })
      .describe('What must come of it; what is not named is not looked at.'),
  })
  .refine(({ connector, call }) => (connector === undefined) !== (call === undefined), {
    error: 'expected either `connector` or `call`',
  });

export type TestInput = z.output<typeof input>;
export type ConfigTest = z.output<typeof testSchema>;
