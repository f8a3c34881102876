/** A message of a broker, as the connector tells it that took it. */
export interface SourceMessage {
  /** The subject, topic, queue or stream that it came by. */
  readonly topic: string;
  /** What it is called as a CloudEvent, unless it is one already. */
  readonly id: string;
  /** The connector made the id, of printable ASCII alone: to look at it costs more than all other headers. */
  readonly hasPlainId?: boolean | undefined;
  /**
   * The broker's own name of it: the same whenever it is given again, and never given to another message of this
   * connector. Absent where the broker has none. Only asked for where it is kept, so one that costs something may be a getter.
   */
  readonly dedupId?: string | undefined;
  /** Wall clock, ms: when the broker or its producer dated it. Absent: when it came, which is when it is told. */
  readonly at?: number | undefined;
  /** The broker's own key, if it has one (Kafka). */
  readonly key?: string | undefined;
  /**
   * Messages with the same one run one after another, as they came, retries included. What `order` in the configuration
   * says goes before.
   */
  readonly orderKey?: string | undefined;
  readonly headers: Iterable<readonly [name: string, values: readonly string[]]>;
  /** What the connector adds to them, names in lower case: `x-kafka-partition`. */
  readonly extra?: Readonly<Record<string, string>> | undefined;
  /**
   * Nobody changes them. They may be a part of what the client received, unless it uses that again: whoever keeps them for
   * longer than until the message is settled copies them.
   */
  readonly body: Uint8Array;
  /** How often the broker gave it, this time included; 1 where it does not tell. */
  readonly attempt: number;
}

/**
 * When a broker is told that a message is safe. `processed`: the function has answered, or what failed is in its queue
 * or among the dead letters. `enqueued`: it is in the function's queue.
 */
export const ackModes = ['processed', 'enqueued'] as const;
export type AckMode = (typeof ackModes)[number];

/** What core does for a connector of messages: which functions run, and when it is acknowledged, are not its affair. */
export interface MessageTraits {
  /** The modes that it can keep its promise in; the first one is the default. */
  readonly acks: readonly [AckMode, ...AckMode[]];
  /** Whether a topic fits a pattern with the broker's own wildcards. */
  readonly matches: (pattern: string, topic: string) => boolean;
}
