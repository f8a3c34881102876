import type { KafkaGroup, KafkaPartitions } from '../../plugins/connections/kafka/driver.ts';
import type { KafkaConnectorConfig } from './config.ts';
import type { Feed } from './feed.ts';

export interface AssignmentParts {
  readonly config: KafkaConnectorConfig;
  readonly group: KafkaGroup;
  readonly open: (topic: string, partition: number, from: number | 'earliest' | 'latest') => Feed;
  readonly changed: (count: number) => void;
}

/** The partitions that this gateway has. */
export class Assignment {
  readonly #parts: AssignmentParts;
  readonly #feeds = new Map<string, Feed>();

  constructor(parts: AssignmentParts) {
    this.#parts = parts;
  }

  get feeds(): readonly Feed[] {
    return [...this.#feeds.values()];
  }

  get partitions(): KafkaPartitions {
    const feeds = Map.groupBy(this.#feeds.values(), ({ topic }) => topic);
    return new Map([...feeds].map(([topic, all]) => [topic, all.map(({ partition }) => partition)]));
  }

  get unsettled(): number {
    let sum = 0;
    for (const { unsettled } of this.#feeds.values()) sum += unsettled;
    return sum;
  }

  /**
   * These are ours now. With `goesOn` nobody else can have had those of them that were ours before; without, what was
   * received from any is somebody else's.
   */
  async adopt(partitions: KafkaPartitions, goesOn: boolean, counts: ReadonlyMap<string, number>): Promise<void> {
    if (!goesOn) this.lose();
    const given = [...partitions].flatMap(([topic, all]) => all.map((partition) => ({ topic, partition })));
    const names = new Set(given.map(nameOf));
    for (const feed of this.feeds) if (!names.has(nameOf(feed))) this.#end(feed);
    const fresh = given.filter((each) => !this.#feeds.has(nameOf(each)));
    // Of whole topics, to know which of their partitions are new.
    const whole = new Map(
      fresh.map(({ topic }) => [topic, Array.from({ length: counts.get(topic) ?? 0 }, (_, partition) => partition)]),
    );
    const committed = await this.#parts.group.committed(whole);
    const { start } = this.#parts.config.subscribe;
    for (const { topic, partition } of fresh) {
      // What was added to a topic that is read already holds only what came since.
      const isRead = whole.get(topic)?.some((each) => committed(topic, each) !== undefined);
      const from = committed(topic, partition) ?? (isRead ? 'earliest' : start);
      this.#feeds.set(nameOf({ topic, partition }), this.#parts.open(topic, partition, from));
    }
    this.#parts.changed(this.#feeds.size);
  }

  /** Takes messages. */
  resume(): void {
    for (const feed of this.#feeds.values()) feed.resume();
  }

  /** Takes no more. */
  hold(): void {
    for (const feed of this.#feeds.values()) feed.hold();
  }

  /** Others may have them. */
  lose(): void {
    for (const feed of this.feeds) this.#end(feed);
    this.#parts.changed(0);
  }

  #end(feed: Feed): void {
    this.#feeds.delete(nameOf(feed));
    feed.end();
  }
}

/** No name of a topic has a colon. */
export function nameOf({ topic, partition }: { readonly topic: string; readonly partition: number }): string {
  return `${topic}:${partition}`;
}
