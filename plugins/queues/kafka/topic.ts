import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { Durability } from '../../../core/contracts/invocation.ts';
import type { KafkaDriver, TopicFacts } from '../../connections/kafka/driver.ts';

/** What a journal's topic is to be like. What is undefined is as the broker has it. */
export interface JournalTopicWish {
  readonly topic: string;
  readonly replicas: number | undefined;
  readonly minInsync: number | undefined;
  readonly sync: boolean;
}

/** Whatever else these were set to, what waits would be lost, or the time and the order of entries with it. */
const needed: Readonly<Record<string, string>> = {
  'cleanup.policy': 'delete',
  'retention.ms': '-1',
  'retention.bytes': '-1',
  'message.timestamp.type': 'LogAppendTime',
  'unclean.leader.election.enable': 'false',
};
/** A broker that packs entries anew might do so in a way that the client cannot read. */
const readable = ['producer', 'uncompressed', 'gzip'];
const smallestBytes = 64 * 1024;
/** What was trimmed gives back its room by whole segments. */
const segmentBytes = 64 * 2 ** 20;
/** By Kafka's own 4 KiB nearly every entry changes two indexes, which a broker that syncs each entry syncs with it. */
const indexIntervalBytes = 64 * 1024;

/** Makes the topic unless it is there; rejects with `config.invalid` when what is there is not what is wished for. */
export async function declareTopic(driver: KafkaDriver, wish: JournalTopicWish): Promise<TopicFacts> {
  const { topic } = wish;
  try {
    const there = await driver.describeTopic(topic);
    const facts = there ?? (await create(driver, wish));
    compare(wish, facts);
    return facts;
  } catch (error) {
    throw refusalOf(error, topic);
  }
}

/** What an acknowledged entry survives. */
export function durabilityOf(all: readonly TopicFacts[]): Durability {
  const every = (holds: (facts: TopicFacts) => boolean): boolean => all.every(holds);
  if (every((facts) => facts.replicas >= 3 && minInsyncOf(facts) >= 2)) return 'replicated';
  return every(({ settings }) => settings.get('flush.messages') === '1') ? 'disk' : 'page-cache';
}

/** Replicas that must have an entry before it is acknowledged. */
export function minInsyncOf({ settings }: TopicFacts): number {
  return Number(settings.get('min.insync.replicas') ?? 1);
}

async function create(driver: KafkaDriver, wish: JournalTopicWish): Promise<TopicFacts> {
  const { topic, minInsync, sync } = wish;
  const replicas = wish.replicas ?? Number((await driver.brokerSetting('default.replication.factor')) ?? 1);
  // The broker's default of 1 would acknowledge what only one of three has.
  const insync = minInsync ?? (replicas >= 3 ? 2 : undefined);
  const settings: Record<string, string> = {
    ...needed,
    'segment.bytes': String(segmentBytes),
    'index.interval.bytes': String(indexIntervalBytes),
  };
  if (insync !== undefined) settings['min.insync.replicas'] = String(insync);
  if (sync) settings['flush.messages'] = '1';
  // Two gateways may do so at once: the same again is no error.
  await driver.createTopic({ topic, partitions: 1, replicas, settings });
  const made = await driver.describeTopic(topic);
  if (made) return made;
  throw new MillraceError('queue.unavailable', `the topic ${topic} was made and is not there yet`, {
    retryAfterSeconds: 1,
  });
}

function compare({ topic, replicas, minInsync, sync }: JournalTopicWish, there: TopicFacts): void {
  const expected: Record<string, string> = { ...needed };
  if (minInsync !== undefined) expected['min.insync.replicas'] = String(minInsync);
  if (sync) expected['flush.messages'] = '1';
  const differences = Object.entries(expected)
    .filter(([name, value]) => there.settings.get(name) !== value)
    .map(([name, value]) => `${name} is ${there.settings.get(name) ?? 'unknown'}, expected ${value}`);
  if (there.partitions !== 1) differences.push(`it has ${there.partitions} partitions, expected 1`);
  if (replicas !== undefined && there.replicas !== replicas) {
    differences.push(`it has ${there.replicas} replicas, expected ${replicas}`);
  }
  if (minInsyncOf(there) > there.replicas) {
    differences.push(
      `min.insync.replicas is ${minInsyncOf(there)} with ${there.replicas} replicas: nothing can be written`,
    );
  }
  const compression = there.settings.get('compression.type') ?? 'producer';
  if (!readable.includes(compression)) {
    differences.push(`compression.type is ${compression}, expected ${readable.join(' or ')}`);
  }
  const maxBytes = Number(there.settings.get('max.message.bytes'));
  if (maxBytes < smallestBytes) {
    differences.push(`max.message.bytes is ${maxBytes}, expected at least ${smallestBytes}`);
  }
  if (differences.length === 0) return;
  throw new MillraceError(
    'config.invalid',
    `the topic ${topic} is there, but not as this queue needs it: ${differences.join('; ')}. ` +
      'Change the settings of the queue or the topic (`kafka-configs.sh --alter`), or give the queue another `topics` name',
  );
}

function refusalOf(error: unknown, topic: string): unknown {
  if (error instanceof MillraceError) {
    if (error.code !== 'connection.unavailable') return error;
    return new MillraceError('queue.unavailable', `the topic ${topic} cannot be looked at: ${error.message}`, {
      cause: error,
      retryAfterSeconds: 1,
    });
  }
  const text = messageOf(error);
  const { type = '' } = (error ?? {}) as { readonly type?: string };
  const invalid = (message: string): MillraceError => new MillraceError('config.invalid', message, { cause: error });
  if (type.endsWith('AUTHORIZATION_FAILED')) {
    return invalid(
      `the Kafka user may not use the topic ${topic} (${text}): it needs Create, Describe, DescribeConfigs, Read, Write ` +
        'and Delete on it, and DescribeConfigs on the cluster unless `replicas` is set',
    );
  }
  if (refused.has(type)) return invalid(`the Kafka broker refuses to make the topic ${topic}: ${text}`);
  return new MillraceError('queue.unavailable', `the topic ${topic} cannot be looked at: ${text}`, {
    cause: error,
    retryAfterSeconds: 1,
  });
}

const refused = new Set([
  'INVALID_REPLICATION_FACTOR',
  'INVALID_CONFIG',
  'POLICY_VIOLATION',
  'INVALID_TOPIC_EXCEPTION',
]);
