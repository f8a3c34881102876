import { AckPolicy, type ConsumerConfig, type ConsumerInfo, DeliverPolicy, type JetStreamManager } from 'nats';
import { messageOf, MillraceError } from '../../core/contracts/errors.ts';
import type { NatsConnection } from '../../plugins/connections/nats/connection.ts';
import type { JetstreamConnectorConfig } from './config.ts';

/**
 * Makes the durable consumer unless it is there; `config.invalid` when what is there is not what is asked for, with each
 * difference, and when the stream is not there. Where it began is not compared: it has moved on since.
 */
export async function declareConsumer(nats: NatsConnection, config: JetstreamConnectorConfig): Promise<ConsumerInfo> {
  return nats.while(async () => {
    const manager = await nats.manager();
    return (await found(nats, manager, config)) ?? manager.consumers.add(config.stream, wishOf(config));
  });
}

/** As above, but makes nothing; undefined when it would be made. */
export function findConsumer(
  nats: NatsConnection,
  config: JetstreamConnectorConfig,
): Promise<ConsumerInfo | undefined> {
  return nats.while(async () => found(nats, await nats.manager(), config));
}

async function found(
  nats: NatsConnection,
  manager: JetStreamManager,
  config: JetstreamConnectorConfig,
): Promise<ConsumerInfo | undefined> {
  const { stream, durable, subjects } = config;
  if (subjects.length > 1 && !nats.isAtLeast(2, 10)) {
    throw invalid(`several subjects for one consumer need NATS 2.10; the server is ${nats.client.info?.version}`);
  }
  const there = await present(manager, stream, durable);
  if (there) compare(config, there.config);
  return there;
}

async function present(manager: JetStreamManager, stream: string, durable: string): Promise<ConsumerInfo | undefined> {
  try {
    return await manager.consumers.info(stream, durable);
  } catch (error) {
    const code = (error as { readonly api_error?: { readonly err_code?: number } }).api_error?.err_code;
    if (code === 10_014) return undefined;
    if (code === 10_059) {
      throw invalid(`there is no stream ${stream}: make it first (\`nats stream add\`), or correct the name`, error);
    }
    throw error;
  }
}

function wishOf(config: JetstreamConnectorConfig): Partial<ConsumerConfig> {
  const { durable, subjects, ackWait, start } = config;
  const [subject] = subjects;
  return {
    durable_name: durable,
    ack_policy: AckPolicy.Explicit,
    ack_wait: ackWait * 1_000_000,
    // Attempts are counted here, where the last one leaves a dead letter. The server would only forget the message.
    max_deliver: -1,
    ...(subjects.length === 1 && subject !== undefined && { filter_subject: subject }),
    ...(subjects.length > 1 && { filter_subjects: [...subjects] }),
    ...startOf(start),
  };
}

function startOf(start: JetstreamConnectorConfig['start']): Partial<ConsumerConfig> {
  if (start === 'all') return { deliver_policy: DeliverPolicy.All };
  if (start === 'new') return { deliver_policy: DeliverPolicy.New };
  if (start === 'last') return { deliver_policy: DeliverPolicy.Last };
  if ('sequence' in start) return { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: start.sequence };
  return { deliver_policy: DeliverPolicy.StartTime, opt_start_time: new Date(start.time).toISOString() };
}

function compare(config: JetstreamConnectorConfig, there: ConsumerConfig): void {
  const subjects = there.filter_subjects ?? (there.filter_subject ? [there.filter_subject] : []);
  const differences = [
    ['ack_policy', AckPolicy.Explicit, there.ack_policy],
    ['ack_wait', `${config.ackWait} ms`, `${(there.ack_wait ?? 0) / 1_000_000} ms`],
    ['max_deliver', -1, there.max_deliver ?? -1],
    ['subjects', config.subjects.toSorted().join(', ') || 'all', subjects.toSorted().join(', ') || 'all'],
    ['deliver_subject', 'none', there.deliver_subject ?? 'none'],
  ]
    .filter(([, expected, found]) => expected !== found)
    .map(([key, expected, found]) => `${key} is ${found}, expected ${expected}`);
  if (differences.length === 0) return;
  throw invalid(
    `the consumer ${config.durable} of the stream ${config.stream} is there, but not as this connector needs it: ` +
      `${differences.join('; ')}. Change the connector or the consumer (\`nats consumer edit\`), or give another \`durable\``,
  );
}

function invalid(message: string, cause?: unknown): MillraceError {
  return new MillraceError('config.invalid', message, cause === undefined ? {} : { cause: messageOf(cause) });
}
