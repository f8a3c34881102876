import { hash } from 'node:crypto';
import type { SourceMessage } from '../../core/contracts/message.ts';
import { contentOf, type Fields } from './entry.ts';
import type { Entry } from './group.ts';

const printable = /^[\x20-\x7e]*$/;
const dayMs = 86_400_000;

/** An entry of a stream as the pipeline takes it. */
export class EntryMessage implements SourceMessage {
  readonly topic: string;
  readonly id: string;
  readonly at: number;
  readonly headers: SourceMessage['headers'];
  readonly extra: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
  readonly attempt: number;
  readonly #fields: Fields;

  /** `now`: wall clock, ms. */
  constructor({ key, id, count, fields }: Entry, bodyField: string | undefined, now: number) {
    const { headers, body } = contentOf(fields, bodyField);
    const dated = Number.parseInt(id, 10);
    this.topic = key;
    this.id = `${key}:${id}`;
    // Ids may be a producer's own, and no times.
    this.at = dated > 1e12 && dated < now + dayMs ? dated : now;
    this.headers = headers;
    this.extra = { 'x-redis-stream': printable.test(key) ? key : encodeURI(key), 'x-redis-id': id };
    this.body = body;
    this.attempt = count;
    this.#fields = fields;
  }

  /** After a failover, or in a stream that was made anew, another entry may have the same id. */
  get dedupId(): string {
    return `${this.id}:${hash('sha1', Buffer.concat(this.#fields), 'base64url')}`;
  }
}
