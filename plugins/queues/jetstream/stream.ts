import { DiscardPolicy, type JetStreamManager, RetentionPolicy, StorageType, type StreamConfig } from 'nats';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';

/** What a stream of the queue is like; anything else that it might be set to would lose what was accepted. */
export interface StreamWish {
  readonly name: string;
  readonly subject: string;
  readonly description: string;
  readonly storage: 'file' | 'memory';
  readonly replicas: number;
}

const apiErrors = { streamNotFound: 10_059, messageNotFound: 10_037, subjectsOverlap: 10_065 } as const;

/** Makes the stream unless it is there; rejects with `config.invalid` when what is there is not what is wished for. */
export async function declareStream(manager: JetStreamManager, wish: StreamWish): Promise<StreamConfig> {
  const wished = configOf(wish);
  try {
    const { config } = await manager.streams.info(wish.name);
    compare(wish.name, wished, config);
    return config;
  } catch (error) {
    if (!isStreamMissing(error)) throw refusalOf(error, wish);
  }
  try {
    // Two gateways may do so at once: the same again is no error.
    return (await manager.streams.add(wished)).config;
  } catch (error) {
    throw refusalOf(error, wish);
  }
}

export function isStreamMissing(error: unknown): boolean {
  return apiCode(error) === apiErrors.streamNotFound;
}

export function isMessageMissing(error: unknown): boolean {
  return apiCode(error) === apiErrors.messageNotFound;
}

type Wished = Pick<
  StreamConfig,
  | 'name'
  | 'subjects'
  | 'description'
  | 'storage'
  | 'num_replicas'
  | 'retention'
  | 'discard'
  | 'max_age'
  | 'max_msgs'
  | 'max_bytes'
  | 'max_msgs_per_subject'
  | 'max_msg_size'
  | 'allow_direct'
>;

function configOf({ name, subject, description, storage, replicas }: StreamWish): Wished {
  return {
    name,
    subjects: [subject],
    description,
    storage: storage === 'file' ? StorageType.File : StorageType.Memory,
    num_replicas: replicas,
    retention: RetentionPolicy.Limits,
    discard: DiscardPolicy.New,
    max_age: 0,
    max_msgs: -1,
    max_bytes: -1,
    max_msgs_per_subject: -1,
    max_msg_size: -1,
    allow_direct: true,
  };
}

/** `max_bytes` may be set: with `discard: new` a full stream refuses, and loses nothing. */
const compared = [
  'subjects',
  'storage',
  'num_replicas',
  'retention',
  'discard',
  'max_age',
  'max_msgs',
  'max_msgs_per_subject',
  'max_msg_size',
] as const satisfies (keyof Wished)[];

function compare(name: string, wished: Wished, there: StreamConfig): void {
  const differences = compared
    .filter((key) => JSON.stringify(wished[key]) !== JSON.stringify(there[key]))
    .map((key) => `${key} is ${JSON.stringify(there[key])}, expected ${JSON.stringify(wished[key])}`);
  if (there.mirror) differences.push('it is a mirror, expected a stream of its own');
  if ((there.sources ?? []).length > 0) differences.push('it has sources, expected none');
  if (there.sealed) differences.push('it is sealed, expected it to take messages');
  if (differences.length === 0) return;
  throw new MillraceError(
    'config.invalid',
    `the stream ${name} is there, but not as this queue needs it: ${differences.join('; ')}. ` +
      'Change the settings of the queue or the stream (`nats stream edit`), or give the queue another `streams` name',
  );
}

function refusalOf(error: unknown, { name, subject, replicas }: StreamWish): unknown {
  if (error instanceof MillraceError) return error;
  const code = (error as { code?: unknown } | null)?.code;
  const text = messageOf(error);
  const invalid = (message: string): MillraceError => new MillraceError('config.invalid', message, { cause: error });
  if (apiCode(error) === apiErrors.subjectsOverlap) {
    return invalid(`the subject ${subject} belongs to another stream: give the queue another \`streams\` name`);
  }
  if (code === '503') {
    return invalid(
      'the NATS server has no JetStream for this account: start it with `-js`, or enable it for the account',
    );
  }
  if (apiCode(error) !== undefined) {
    return invalid(`the NATS server refuses the stream ${name} with ${replicas} replicas: ${text}`);
  }
  return new MillraceError('queue.unavailable', `the stream ${name} cannot be looked at: ${text}`, { cause: error });
}

function apiCode(error: unknown): number | undefined {
  const { api_error: api } = (error ?? {}) as { api_error?: { err_code?: number } };
  return api?.err_code;
}
