import { z } from 'zod';
import { connectionName } from '../../core/config/units.ts';
import { matches } from './topic.ts';

const filter = z
  .string()
  .max(1000)
  .regex(
    // oxlint-disable-next-line no-control-regex -- the protocol forbids it in topics.
    /^(?:(?:[^+#\u0000/]*|\+)\/)*(?:[^+#\u0000/]*|\+|#)$/,
    'expected a topic such as plant/7/temp, plant/+/temp or plant/#',
  )
  .min(1)
  .refine((text) => !text.startsWith('$share/'), 'give the group of a shared subscription as share: GROUP');

const subscription = z
  .strictObject({
    topic: filter.describe('A topic; `+` is one level, `#` all that follow.'),
    qos: z
      .union([z.literal(0), z.literal(1), z.literal(2)])
      .default(1)
      .describe('At most; what was sent with less comes with less.'),
    share: z
      .string()
      .regex(/^[^+#/\s]+$/, 'expected a name without "+", "#", slashes and spaces')
      .optional()
      .describe(
        'Of all gateways that subscribe with the same group, each message goes to one; what goes to one that is away ' +
          'waits in its session.',
      ),
    retain: z
      .enum(['ignore', 'new', 'deliver'])
      .default('ignore')
      .describe(
        'Messages that the broker has retained: `ignore` them, `deliver` them at each start, or only to a session that is ' +
          '`new` (version 5).',
      ),
  })
  .refine(({ share, retain }) => share === undefined || retain === 'ignore', {
    path: ['retain'],
    error: 'expected ignore: a shared subscription is never given retained messages',
  });

export const mqttConnectorConfig = z
  .strictObject({
    connection: connectionName,
    subscribe: z
      .array(subscription)
      .min(1)
      .max(100)
      .superRefine((subscriptions, context) => {
        for (const [index, { topic }] of subscriptions.entries()) {
          const other = subscriptions.slice(0, index).find((one) => overlaps(one.topic, topic));
          if (!other) continue;
          const message = `overlaps with ${other.topic}: what fits both may come twice`;
          context.addIssue({ code: 'custom', path: [index, 'topic'], message });
        }
      })
      .describe('What is listened to.'),
    delivery: z
      .enum(['at-least-once', 'at-most-once'])
      .default('at-least-once')
      .describe(
        '`at-most-once` has to be written out where messages may be lost: for `qos: 0` and for clean sessions.',
      ),
    contentType: z
      .string()
      .regex(/^[\w.+-]+\/[\w.+-]+(?:\s*;.*)?$/, 'expected a media type such as application/json')
      .optional()
      .describe(
        'Of messages that do not say it themselves, as with version 3.1.1; `application/cloudevents+json` for events.',
      ),
    buffer: z
      .int()
      .min(1)
      .max(1_000_000)
      .default(1000)
      .describe('Messages of QoS 0 that may be unsettled; more are dropped, and counted.'),
  })
  .superRefine(({ subscribe, delivery }, context) => {
    if (delivery === 'at-most-once') return;
    for (const [index, { qos }] of subscribe.entries()) {
      if (qos > 0) continue;
      const message =
        'QoS 0 loses what comes while nobody listens, and what a crash interrupts: use 1 or 2, or write delivery: at-most-once';
      context.addIssue({ code: 'custom', path: ['subscribe', index, 'qos'], message });
    }
  });

export type MqttConnectorConfig = z.output<typeof mqttConnectorConfig>;

/** Whether a topic can fit both. */
function overlaps(one: string, other: string): boolean {
  // No wildcard stands for a first level that begins with "$".
  const areApart = one.startsWith('$') !== other.startsWith('$');
  return !areApart && overlap(one.split('/'), other.split('/'));
}

function overlap(one: readonly string[], other: readonly string[]): boolean {
  const [a, ...restOfOne] = one;
  const [b, ...restOfOther] = other;
  // "#" stands for the level above it as well.
  if (a === '#' || b === '#') return true;
  if (a === undefined || b === undefined) return a === b;
  return (a === b || a === '+' || b === '+') && overlap(restOfOne, restOfOther);
}

/** Whether one of the subscriptions asks for the topic. */
export function isAskedFor({ subscribe }: Pick<MqttConnectorConfig, 'subscribe'>, topic: string): boolean {
  return subscribe.some((one) => matches(one.topic, topic));
}
