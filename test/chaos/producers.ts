import { createHash, randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { AckMode } from '../../core/contracts/message.ts';
import type { Behaviour, Confirmed } from './connector-checker.ts';
import type { Source } from './connectors.ts';

const producers = 8;
const idlePauseMs = 50;

/** How often each is sent. */
const shareOf: Readonly<Record<Behaviour, number>> = { ok: 0.8, 'fail-once': 0.12, 'fail-always': 0.08 };

/** Those who publish, and the ledger of what the broker has confirmed to them. */
export class Producers {
  readonly confirmed: Confirmed[] = [];
  /** Ids of messages of which nothing is known: the broker may have them. */
  readonly unknown = new Set<string>();
  /** They pause when so many have been confirmed, so that a slow machine is not given more than it can do. */
  most = 0;
  readonly #source: Source;
  readonly #topics: readonly AckMode[];
  readonly #random: () => number;

  constructor(source: Source, topics: readonly AckMode[], random: () => number) {
    this.#source = source;
    this.#topics = topics;
    this.#random = random;
  }

  /** All of them publish, one message after another each and by a key of its own, with about `paceMs` between two, until the signal aborts. */
  async load(paceMs: number, signal: AbortSignal): Promise<void> {
    const one = async (key: string): Promise<void> => {
      while (!signal.aborted) {
        const isSent = this.confirmed.length < this.most && (await this.send(key)) !== undefined;
        const pauseMs = isSent ? this.#random() * 2 * paceMs : idlePauseMs;
        await delay(pauseMs, undefined, { signal }).catch(() => undefined);
      }
    };
    await Promise.all(Array.from({ length: producers }, (_, index) => one(`producer-${index}`)));
  }

  /** One message; undefined when the broker did not say that it has it. */
  async send(key: string): Promise<Confirmed | undefined> {
    const behaviour = this.#pick();
    const id = randomBytes(8).toString('hex');
    // Bytes of every kind, after what the function reads.
    const body = Buffer.concat([Buffer.from(`${id} ${behaviour} `), randomBytes(Math.floor(this.#random() * 500))]);
    const topic = this.#topics[Math.floor(this.#random() * this.#topics.length)] ?? 'enqueued';
    this.unknown.add(id);
    try {
      await this.#source.publish(topic, body, key);
    } catch {
      return undefined; // It is in the ledger of the unknown.
    }
    this.unknown.delete(id);
    const sent = { id, topic, behaviour, key, body: createHash('sha256').update(body).digest('hex') };
    this.confirmed.push(sent);
    return sent;
  }

  #pick(): Behaviour {
    let left = this.#random();
    for (const [behaviour, share] of Object.entries(shareOf)) {
      left -= share;
      if (left < 0) return behaviour as Behaviour;
    }
    return 'ok';
  }
}
