import type { Logger } from 'pino';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { Journal, JournalReader } from '../../../core/contracts/journal.ts';
import type { NatsConnection } from '../../connections/nats/connection.ts';
import { follow } from './follower.ts';

const timeoutMs = 5000;
const notFound = 404;
/** Well below a server's usual bound of 1 MiB: what is larger goes into several entries. */
const largestBytes = 512 * 1024;

/** A stream with one subject. Positions are sequences. */
export class JetstreamJournal implements Journal {
  readonly origin = 1;
  readonly stream: string;
  readonly subject: string;
  readonly #nats: NatsConnection;
  readonly #logger: Logger;

  constructor(nats: NatsConnection, stream: string, subject: string, logger: Logger) {
    this.#nats = nats;
    this.stream = stream;
    this.subject = subject;
    this.#logger = logger;
  }

  get maxBytes(): number {
    return Math.min(largestBytes, this.#nats.client.info?.max_payload ?? largestBytes);
  }

  get available(): boolean {
    return this.#nats.connected;
  }

  append(data: Uint8Array): Promise<number> {
    return this.#ask(async (client) => {
      const { seq } = await client
        .jetstream({ timeout: timeoutMs })
        .publish(this.subject, data, { timeout: timeoutMs });
      return seq;
    });
  }

  follow(from: number, reader: JournalReader, signal: AbortSignal): Promise<void> {
    return follow({ nats: this.#nats, stream: this.stream, from, reader, signal, logger: this.#logger });
  }

  read(position: number): Promise<Uint8Array | undefined> {
    return this.#ask(async (client) => {
      const answer = await client.request(`$JS.API.DIRECT.GET.${this.stream}`, JSON.stringify({ seq: position }), {
        timeout: timeoutMs,
      });
      const { code = 0 } = answer.headers ?? {};
      if (code === 0) return answer.data;
      if (code !== notFound) throw new Error(`${code} ${answer.headers?.description ?? ''}`);
      // Any replica answers the direct way, and one that is behind does not know it yet.
      const manager = await this.#nats.manager();
      try {
        return (await manager.streams.getMessage(this.stream, { seq: position })).data;
      } catch (error) {
        if (this.#nats.isApiError(error, 'messageNotFound')) return undefined;
        throw error;
      }
    });
  }

  bounds(): Promise<{ first: number; next: number }> {
    return this.#ask(async () => {
      const manager = await this.#nats.manager();
      const { state } = await manager.streams.info(this.stream);
      const next = state.last_seq + 1;
      return { first: state.messages === 0 ? next : state.first_seq, next };
    });
  }

  async trim(before: number): Promise<void> {
    await this.#ask(async () => {
      const manager = await this.#nats.manager();
      await manager.streams.purge(this.stream, { seq: before });
    });
  }

  async #ask<Result>(ask: (client: NatsConnection['client']) => Promise<Result>): Promise<Result> {
    try {
      return await this.#nats.while(ask);
    } catch (error) {
      const message = `the stream ${this.stream} cannot be reached: ${messageOf(error)}`;
      throw new MillraceError('queue.unavailable', message, { cause: error, retryAfterSeconds: 1 });
    }
  }
}
