import { Partitioners } from 'kafkajs';
import type { OutgoingMessage } from '../../../core/contracts/connection.ts';
import { MillraceError } from '../../../core/contracts/errors.ts';
import type { KafkaDriver, KafkaPartition } from './driver.ts';

const factsMs = 60_000;

interface Topic {
  readonly partitions: readonly KafkaPartition[];
  /** Monotonic ms: asked again after that, since partitions may be added. */
  readonly until: number;
}

/** Publishes to the partition that Java's clients would choose for the key; without one to each in turn. */
export class Publisher {
  readonly #driver: () => KafkaDriver;
  readonly #partitioner = Partitioners.DefaultPartitioner();
  readonly #topics = new Map<string, Topic>();
  #turn = 0;

  constructor(driver: () => KafkaDriver) {
    this.#driver = driver;
  }

  async publish({ to, key, headers, body }: OutgoingMessage): Promise<void> {
    const { partitions } = await this.#topic(to);
    const partitionMetadata = partitions.map((_, partitionId) => ({ partitionId, leader: 0 }));
    const chosen =
      key === undefined
        ? this.#turn++ % partitions.length
        : this.#partitioner({
            topic: to,
            partitionMetadata: partitionMetadata as never,
            message: { key, value: null },
          });
    await partitions[chosen]?.append([
      { value: body, headers: namedBytes(headers), key: key === undefined ? undefined : Buffer.from(key) },
    ]);
  }

  close(): void {
    for (const { partitions } of this.#topics.values()) for (const partition of partitions) partition.close();
    this.#topics.clear();
  }

  async #topic(name: string): Promise<Topic> {
    const known = this.#topics.get(name);
    if (known && known.until > performance.now()) return known;
    const driver = this.#driver();
    const facts = await driver.describeTopic(name);
    if (!facts) throw new MillraceError('config.invalid', `there is no topic ${name}: make it first`);
    const { length } = known?.partitions ?? [];
    const added = Array.from({ length: Math.max(0, facts.partitions - length) }, (_, index) =>
      driver.open(name, length + index),
    );
    const topic = { partitions: [...(known?.partitions ?? []), ...added], until: performance.now() + factsMs };
    this.#topics.set(name, topic);
    return topic;
  }
}

/** https://github.com/cloudevents/spec, kafka-protocol-binding. */
function namedBytes(headers: OutgoingMessage['headers']): Record<string, Uint8Array> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [
      name.startsWith('ce-') ? `ce_${name.slice(3)}` : name,
      Buffer.from([value].flat().join(', ')),
    ]),
  );
}
