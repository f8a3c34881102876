/**
 * What Millrace asks of a Kafka client. Everything of kafkajs, which is unmaintained (kafkajs#1603), is behind it, so that
 * another client can take its place. What it rejects with has the broker's own word for the error as `type`
 * (`OFFSET_OUT_OF_RANGE`), where the broker gave one; nothing is buffered for a broker that is away.
 */
export interface KafkaDriver {
  /** Undefined when there is no such topic. */
  describeTopic(topic: string): Promise<TopicFacts | undefined>;
  /** Resolves once it is known; also when it was there already, whatever it is like. */
  createTopic(wish: TopicWish): Promise<void>;
  deleteTopic(topic: string): Promise<void>;
  /** The setting of the broker itself, such as `default.replication.factor`. */
  brokerSetting(name: string): Promise<string | undefined>;
  /** A way of its own to the partition's leader. Dials with the first request, and again after each loss. */
  open(topic: string, partition: number): KafkaPartition;
}

export interface TopicWish {
  readonly topic: string;
  readonly partitions: number;
  readonly replicas: number;
  readonly settings: Readonly<Record<string, string>>;
}

export interface TopicFacts {
  readonly partitions: number;
  /** Of the partition that has fewest. */
  readonly replicas: number;
  /** In force, whether set at the topic or by the broker. */
  readonly settings: ReadonlyMap<string, string>;
}

/**
 * A socket to the leader of one partition. The broker answers what is asked over it in order and one at a time: what
 * must not wait for a long poll has one of its own. A leader that moves is followed.
 */
export interface KafkaPartition {
  /**
   * Resolves with the offset of the first one, once all replicas that are in sync have them. After a rejection they may
   * have been taken all the same: this is no idempotent producer, since those who ask recognise what comes twice.
   */
  append(records: readonly KafkaValue[]): Promise<number>;
  /** What there is from that offset on, at least one record if there is one; waits for it as long as `waitMs`. */
  fetch(offset: number, options: { readonly maxBytes: number; readonly waitMs: number }): Promise<KafkaRecord[]>;
  /** The offset of the first record that is kept, and the one after the last that all replicas in sync have. */
  bounds(): Promise<{ readonly first: number; readonly next: number }>;
  deleteBefore(offset: number): Promise<void>;
  /** Whoever waits for an answer is rejected. */
  close(): void;
}

export interface KafkaValue {
  readonly value: Uint8Array;
  readonly key?: Uint8Array | undefined;
  readonly headers?: Readonly<Record<string, Uint8Array>> | undefined;
}

export interface KafkaRecord {
  readonly offset: number;
  /** Wall clock, ms: of the broker where the topic says `LogAppendTime`, else of the sender. */
  readonly timestamp: number;
  /** A part of the whole answer: copy what is to be kept. Null is what a compacted topic has for a removed key. */
  readonly value: Uint8Array | null;
  /** Not of a sender, but the broker's own mark of where a transaction ends. */
  readonly mark: boolean;
}
