import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { RedisArgument, RedisConnection, RedisScript } from '../../connections/redis/connection.ts';

export interface ServerSettings {
  /** What all keys begin with. Its hash tag keeps them on one node of a cluster. */
  readonly prefix: string;
  readonly agingStepMs: number;
  readonly retentionMs: number;
  readonly tombstonesMs: number;
  /** For tests only: the time that the scripts go by, instead of the server's. */
  readonly now?: (() => number) | undefined;
}

/** The scripts' way to the server, and what its errors mean to a queue. */
export class Server {
  readonly #connection: RedisConnection;
  readonly #settings: ServerSettings;
  readonly #running = new Set<Promise<unknown>>();
  #closed = false;

  constructor(connection: RedisConnection, settings: ServerSettings) {
    this.#connection = connection;
    this.#settings = settings;
  }

  async run(script: RedisScript, values: readonly RedisArgument[]): Promise<unknown> {
    if (this.#closed) throw stopped();
    const { prefix, agingStepMs, retentionMs, tombstonesMs, now } = this.#settings;
    const time = now === undefined ? '' : String(now());
    const running = this.#connection.evaluate(
      script,
      [prefix],
      [time, String(agingStepMs), String(retentionMs), String(tombstonesMs), ...values],
    );
    this.#running.add(running);
    try {
      return await running;
    } catch (error) {
      throw explain(error, prefix);
    } finally {
      this.#running.delete(running);
    }
  }

  /** Takes nothing more, and resolves when what is under way has been answered. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(this.#running);
  }
}

export function stopped(): MillraceError {
  return new MillraceError('queue.unavailable', 'the queue has been stopped');
}

function explain(error: unknown, prefix: string): MillraceError {
  const message = messageOf(error);
  const newer = /MILLRACEFORMAT (\d+)/.exec(message);
  if (newer) {
    return new MillraceError(
      'queue.format',
      `${prefix} in Redis has format ${newer[1]}, written by a newer release of Millrace: ` +
        'run the newer release, or give this queue another name there',
      { cause: error },
    );
  }
  // Of whatever else went wrong nothing is known but that the same may be asked again.
  return new MillraceError('queue.unavailable', message, { cause: error, retryAfterSeconds: 1 });
}
