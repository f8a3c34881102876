import type { Channel, ConsumeMessage } from 'amqplib';

/** So long a settled message may wait for company: each acknowledgement is a packet of its own. */
const gatherMs = 2;

/**
 * What is settled of one channel, told to the broker together: when it is as much as the broker may still lend, so that
 * it never waits for the word, or after `gatherMs`.
 */
export class Acknowledgements {
  readonly #channel: Pick<Channel, 'ack'>;
  readonly #prefetch: number;
  readonly #failed: (error: Error) => void;
  /** Delivery tags that are neither settled nor handed back, in the order of the channel. */
  readonly #outstanding = new Set<number>();
  #settled: ConsumeMessage[] = [];
  #timer: NodeJS.Timeout | undefined;

  /** `failed` is called when the channel takes nothing any more: the broker gives again what was not told. */
  constructor(channel: Pick<Channel, 'ack'>, prefetch: number, failed: (error: Error) => void) {
    this.#channel = channel;
    this.#prefetch = prefetch;
    this.#failed = failed;
  }

  received({ fields }: ConsumeMessage): void {
    this.#outstanding.add(fields.deliveryTag);
  }

  handedBack({ fields }: ConsumeMessage): void {
    this.#outstanding.delete(fields.deliveryTag);
  }

  settled(message: ConsumeMessage): void {
    this.#outstanding.delete(message.fields.deliveryTag);
    const count = this.#settled.push(message);
    if (2 * count >= this.#prefetch - this.#outstanding.size) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), gatherMs);
  }

  /** Tells now what has been settled: all at once as far as nothing older is outstanding, the others one by one. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const settled = this.#settled;
    this.#settled = [];
    const [oldest = Infinity] = this.#outstanding;
    let last: ConsumeMessage | undefined;
    try {
      for (const message of settled) {
        const { deliveryTag } = message.fields;
        if (deliveryTag > oldest) this.#channel.ack(message);
        else if (!last || deliveryTag > last.fields.deliveryTag) last = message;
      }
      // Not up to one that was told before: the broker would find nothing, and close the channel.
      if (last) this.#channel.ack(last, true);
    } catch (error) {
      this.#failed(error as Error);
    }
  }
}
