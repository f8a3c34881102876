import { z } from 'zod';
import { connectionName, timeLimit } from '../../core/config/units.ts';

const key = z.string().min(1).max(1000);
const name = z.string().min(1).max(200);
const channel = z.string().min(1).max(1000);

/** Where it stands without being said. */
export const standardClaimIdleMs = 30_000;

const stream = z
  .strictObject({
    key: key.optional().describe('The stream. One of this and `keys`.'),
    keys: z.array(key).min(1).max(100).optional().describe('Several streams.'),
    group: name.default('millrace').describe('The consumer group: gateways with the same one share the entries.'),
    start: z
      .union([
        z.enum(['all', 'new']),
        z.strictObject({
          id: z
            .string()
            .regex(/^\d{1,20}(-\d{1,20})?$/, 'expected the id of an entry, as in "1700000000000-0"')
            .describe('Entries after the one with this id.'),
        }),
        z.strictObject({ time: z.iso.datetime({ offset: true }).describe('Entries that are not older than this.') }),
      ])
      .default('all')
      .describe('Where a group that is made begins: `all`, `new`, `{ id: 1700000000000-0 }` or `{ time: … }`.'),
    create: z
      .boolean()
      .default(true)
      .describe('Make the group, and the stream, unless they are there. Without it they must be.'),
  })
  .superRefine(({ key, keys }, context) => {
    if ((key === undefined) === (keys === undefined)) {
      context.addIssue({ code: 'custom', message: 'needs either key or keys' });
    }
    if (new Set(keys).size < (keys?.length ?? 0)) {
      context.addIssue({ code: 'custom', path: ['keys'], message: 'names a stream twice' });
    }
  });

const settings = z.strictObject({
  connection: connectionName,
  stream: stream.optional().describe('Entries of streams, each acknowledged when it is safe.'),
  consumer: name
    .optional()
    .describe(
      'What this gateway is called in the group: the same after a restart, so that it has at once what it was given ' +
        'before, and another one for each gateway. Without it the name of the host and that of the connector.',
    ),
  claimIdle: timeLimit(`${standardClaimIdleMs}ms`)
    .unwrap()
    .refine((ms) => ms >= 100, 'expected at least 100ms')
    .optional()
    .describe(
      'A gateway that has said nothing of an entry for so long is taken for dead, and another one gets it. 30s without it.',
    ),
  body: name
    .optional()
    .describe(
      'The field of an entry that is the body; the others are headers. Without it, or in an entry that has none of that ' +
        'name: `body`, `data` or `payload`, and if it has none of these either, the whole entry as a JSON object.',
    ),
  channels: z
    .array(channel)
    .min(1)
    .optional()
    .describe('Instead of `stream`: channels of publish and subscribe. Each gateway that listens gets each message.'),
  patterns: z
    .array(channel)
    .min(1)
    .optional()
    .describe('Channels by pattern: `*` any characters, `?` one, `[a-z]` one of these. With `channels` or alone.'),
  delivery: z
    .literal('at-most-once', {
      error:
        'must be "at-most-once", written out: Redis keeps no message of a channel, so what comes while nobody listens, or ' +
        'what a crash interrupts, is gone. Where that may not be, use a stream',
    })
    .optional()
    .describe('What Redis itself promises of channels, which is to be seen in the file.'),
  buffer: z
    .int()
    .min(0)
    .max(1_000_000)
    .optional()
    .describe('Messages of channels that may wait for credit; more are dropped, and counted. 1000 without it.'),
});

const ofStreams = ['consumer', 'claimIdle', 'body'] as const;
const ofChannels = ['delivery', 'buffer'] as const;

export const redisConnectorConfig = settings.superRefine((config, context) => {
  const listens = config.channels !== undefined || config.patterns !== undefined;
  if (listens === (config.stream !== undefined)) {
    const message = `needs either stream or channels and patterns${listens ? ', not both' : ''}`;
    return context.addIssue({ code: 'custom', message });
  }
  for (const setting of listens ? ofStreams : ofChannels) {
    if (config[setting] === undefined) continue;
    const message = `is a setting of ${listens ? 'streams' : 'channels'} only`;
    context.addIssue({ code: 'custom', path: [setting], message });
  }
  if (listens && config.delivery === undefined) {
    const { error } = settings.shape.delivery.safeParse('');
    context.addIssue({ code: 'custom', path: ['delivery'], message: error?.issues[0]?.message ?? '' });
  }
});

export type RedisConnectorConfig = z.output<typeof redisConnectorConfig>;
export type StreamSettings = NonNullable<RedisConnectorConfig['stream']>;
