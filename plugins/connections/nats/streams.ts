import type { JetStreamManager, StreamConfig } from 'nats';
import { sleep } from '../../../core/contracts/clock.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';

/** A stream as its user needs it; what is not said is the server's choice, and may be changed by its operator. */
export type StreamWish = Pick<StreamConfig, 'name' | 'subjects' | 'storage' | 'num_replicas'> & Partial<StreamConfig>;

const apiErrors = {
  clusterNotAvailable: 10_008,
  messageNotFound: 10_037,
  storeFailed: 10_049,
  streamNotFound: 10_059,
  subjectsOverlap: 10_065,
  wrongLast: 10_071,
} as const;

/** A server that is busy, or has no leader yet, is asked again so often. */
const attempts = 6;

/** Told, but no reason to refuse a stream that is there. */
const harmless = new Set<string>(['name', 'description', 'allow_direct', 'allow_msg_ttl']);

/**
 * Makes the stream unless it is there. Rejects with `config.invalid` when what is there is not what is wished for, with
 * each difference, and when the server cannot make it; with `connection.unavailable` when it cannot be reached.
 */
export async function declareStream(manager: JetStreamManager, wish: StreamWish): Promise<void> {
  try {
    const { config } = await manager.streams.info(wish.name);
    compare(wish, config);
    return;
  } catch (error) {
    if (!isApiError(error, 'streamNotFound')) throw refusalOf(error, wish);
  }
  for (let attempt = 1; ; attempt++) {
    try {
      // Two gateways may do so at once: the same again is no error.
      await manager.streams.add(wish);
      return;
    } catch (error) {
      if (!mayPass(error) || attempt === attempts) throw refusalOf(error, wish);
      await sleep(50 * 2 ** attempt);
    }
  }
}

/** Whether the server answered with that error. */
export function isApiError(error: unknown, name: keyof typeof apiErrors): boolean {
  return apiCode(error) === apiErrors[name];
}

function compare(wish: StreamWish, there: StreamConfig): void {
  const differences = Object.entries(wish)
    .map(
      ([key, expected]) => [key, JSON.stringify(expected), JSON.stringify(there[key as keyof StreamConfig])] as const,
    )
    .filter(([key, expected, found]) => !harmless.has(key) && expected !== found)
    .map(([key, expected, found]) => `${key} is ${found ?? 'not set'}, expected ${expected}`);
  if (there.mirror) differences.push('it is a mirror, expected a stream of its own');
  if ((there.sources ?? []).length > 0) differences.push('it has sources, expected none');
  if (there.sealed) differences.push('it is sealed, expected it to take messages');
  if (differences.length === 0) return;
  throw new MillraceError(
    'config.invalid',
    `the stream ${wish.name} is there, but not as it is needed: ${differences.join('; ')}. ` +
      'Change the settings, or the stream (`nats stream edit`), or use another name',
  );
}

function refusalOf(error: unknown, { name, subjects, num_replicas: replicas }: StreamWish): unknown {
  if (error instanceof MillraceError) return error;
  const { code } = (error ?? {}) as { readonly code?: unknown };
  const text = messageOf(error);
  const invalid = (message: string): MillraceError => new MillraceError('config.invalid', message, { cause: error });
  if (isApiError(error, 'subjectsOverlap')) {
    return invalid(`the subject ${subjects.join(', ')} belongs to another stream: use another name`);
  }
  if (code === '503') {
    return invalid(
      'the NATS server has no JetStream for this account: start it with `-js`, or enable it for the account',
    );
  }
  if (apiCode(error) !== undefined && !mayPass(error)) {
    return invalid(`the NATS server refuses the stream ${name} with ${replicas} replicas: ${text}`);
  }
  return new MillraceError('connection.unavailable', `the stream ${name} cannot be looked at: ${text}`, {
    cause: error,
  });
}

function mayPass(error: unknown): boolean {
  return isApiError(error, 'clusterNotAvailable') || isApiError(error, 'storeFailed');
}

function apiCode(error: unknown): number | undefined {
  const { api_error: api } = (error ?? {}) as { readonly api_error?: { readonly err_code?: number } };
  return api?.err_code;
}
