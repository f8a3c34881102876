import { MillraceError } from '../../core/contracts/errors.ts';
import type { KafkaConnection } from '../../plugins/connections/kafka/connection.ts';
import type { KafkaConnectorConfig } from './config.ts';
import { subscribesTo } from './topics.ts';

/** Which topics there are, as far as they were looked at, and which of them are subscribed to. */
export class Subscription {
  readonly #config: KafkaConnectorConfig;
  readonly #kafka: KafkaConnection;
  readonly #wants: (topic: string) => boolean;
  #counts: ReadonlyMap<string, number> = new Map();

  constructor(config: KafkaConnectorConfig, kafka: KafkaConnection) {
    this.#config = config;
    this.#kafka = kafka;
    this.#wants = subscribesTo(config.subscribe.topics);
  }

  /** How many partitions each topic of the cluster has: other members may read other ones. */
  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  get topics(): readonly string[] {
    return [...this.#counts.keys()].filter(this.#wants);
  }

  /** Looks again; whether what is subscribed to has changed. */
  async look(): Promise<boolean> {
    const before = this.#text();
    this.#counts = await this.#kafka.driver.topics();
    return this.#text() !== before;
  }

  /** Rejects with `config.invalid` when a topic is not there. */
  async check(): Promise<void> {
    await this.look();
    const { topics } = this.#config.subscribe;
    const missing = typeof topics === 'string' ? undefined : topics.find((topic) => !this.#counts.has(topic));
    if (missing === undefined) return;
    throw new MillraceError(
      'config.invalid',
      `subscribe.topics: there is no topic ${missing}: make it first (\`kafka-topics --create\`), or correct the name`,
    );
  }

  #text(): string {
    const counted = this.topics.map((topic) => `${topic}:${this.#counts.get(topic)}`);
    return counted.toSorted().join();
  }
}
