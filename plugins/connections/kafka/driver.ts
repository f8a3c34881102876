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
  /** All topics but the broker's own, with how many partitions each has. */
  topics(): Promise<ReadonlyMap<string, number>>;
  /** A way of its own to whichever broker coordinates the group. Dials with the first request, and again after each loss. */
  group(id: string): KafkaGroup;
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
  /** As above, without what transactions took back and what they have not decided yet. */
  read(offset: number, options: { readonly maxBytes: number; readonly waitMs: number }): Promise<KafkaPage>;
  /**
   * The offset of the first record that is kept, and the one after the last that all replicas in sync have; with
   * `decided`, after the last before any transaction that is open.
   */
  bounds(decided?: boolean): Promise<{ readonly first: number; readonly next: number }>;
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

export interface KafkaPage {
  /** Each is read when it is asked for, so once; throws when the broker's answer is not what it should be. */
  readonly messages: Iterable<KafkaMessage>;
  /** Where to read on: past all that was looked at, and also past holes, marks and what was taken back. */
  readonly next: number;
  /** Where what can be read ends for now. */
  readonly end: number;
}

/** A record as its sender made it. Its bytes are a part of the whole answer: copy what is to be kept. */
export interface KafkaMessage {
  readonly offset: number;
  /** As of `KafkaRecord`. */
  readonly timestamp: number;
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly headers: readonly (readonly [name: string, value: Uint8Array | null])[];
}

/** By topic. */
export type KafkaPartitions = ReadonlyMap<string, readonly number[]>;

/**
 * One consumer group of the classic protocol, as one member of it sees it. Nothing is tried again here: each method
 * rejects with the coordinator's own word (`REBALANCE_IN_PROGRESS`, `UNKNOWN_MEMBER_ID`), or because it was lost.
 */
export interface KafkaGroup {
  /** Resolves when every member has joined, or has been given up. Only the leader is told of the members. */
  join(wish: GroupWish): Promise<JoinedGroup>;
  /** What this one is to read. The leader says what everybody does. */
  sync(membership: GroupMembership, shares?: ReadonlyMap<string, KafkaPartitions>): Promise<KafkaPartitions>;
  heartbeat(membership: GroupMembership): Promise<void>;
  /** The offsets that are to be read next, as they were committed: undefined where none was. */
  committed(partitions: KafkaPartitions): Promise<(topic: string, partition: number) => number | undefined>;
  /** Resolves with those that were not taken although the member is one, as of a topic that has gone. */
  commit(membership: GroupMembership, offsets: readonly KafkaOffset[]): Promise<readonly KafkaOffset[]>;
  leave(memberId: string): Promise<void>;
  /** Whoever waits for an answer is rejected. */
  close(): void;
}

export interface GroupMembership {
  readonly memberId: string;
  /** Counts the rebalances: what is said in an older one is refused. */
  readonly generation: number;
}

export interface GroupWish {
  /** What it was called before; empty the first time. */
  readonly memberId: string;
  /** How it is shared out: all members have to agree on that. */
  readonly protocol: string;
  readonly topics: readonly string[];
  readonly owned: KafkaPartitions;
  readonly sessionTimeoutMs: number;
  readonly rebalanceTimeoutMs: number;
}

export interface GroupMember {
  readonly memberId: string;
  readonly topics: readonly string[];
  readonly owned: KafkaPartitions;
}

export interface JoinedGroup extends GroupMembership {
  readonly members: readonly GroupMember[] | undefined;
}

export interface KafkaOffset {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
}
