/**
 * The parts of kafkajs 2.2.4 below its public API, as far as they are used. Its public API reads topics in consumer groups
 * only, retries for minutes, and gives up on what it calls not retriable; one request to one broker is what is wanted
 * here. The version is pinned in package.json.
 */
declare module 'kafkajs/src/broker/index.js' {
  import type ConnectionPool from 'kafkajs/src/network/connectionPool.js';
  import type { KafkajsLogger } from 'kafkajs/src/network/connectionPool.js';

  interface PartitionAnswer {
    readonly partition: number;
    readonly baseOffset: string;
    readonly offset: string;
  }
  interface RecordAnswer {
    readonly offset: string;
    readonly timestamp: string;
    readonly value: Buffer | null;
    readonly isControlRecord: boolean;
  }
  interface Metadata {
    readonly brokers: readonly { readonly nodeId: number; readonly host: string; readonly port: number }[];
    readonly controllerId: number;
    readonly topicMetadata: readonly {
      readonly topic: string;
      readonly partitionMetadata: readonly {
        readonly partitionId: number;
        readonly leader: number;
        readonly replicas: readonly number[];
      }[];
    }[];
  }
  interface DescribedConfigs {
    readonly resources: readonly {
      readonly configEntries: readonly { readonly configName: string; readonly configValue: string | null }[];
    }[];
  }

  /** A request in the version that the broker and kafkajs both know. */
  interface Request {
    readonly request: { readonly apiVersion: number };
    readonly response: { decode(payload: Buffer): Promise<unknown> };
  }
  interface Membership {
    readonly groupId: string;
    readonly memberId: string;
  }

  /** One broker. */
  export default class Broker {
    readonly connectionPool: ConnectionPool;
    readonly lookupRequest: (key: number, definition: unknown) => (options: object) => Request;
    constructor(options: {
      readonly connectionPool: ConnectionPool;
      readonly logger: KafkajsLogger;
      readonly authenticationTimeout: number;
      readonly allowAutoTopicCreation: boolean;
    });
    connect(): Promise<void>;
    apiVersions(): Promise<unknown>;
    /** Of all topics when none is named. */
    metadata(topics: readonly string[]): Promise<Metadata>;
    produce(request: {
      readonly acks: -1;
      readonly timeout: number;
      readonly topicData: readonly {
        readonly topic: string;
        readonly partitions: readonly { readonly partition: number; readonly messages: readonly object[] }[];
      }[];
    }): Promise<{ readonly topics: readonly { readonly partitions: readonly PartitionAnswer[] }[] }>;
    fetch(request: {
      readonly isolationLevel: 0 | 1;
      readonly maxWaitTime: number;
      readonly minBytes: number;
      readonly maxBytes: number;
      readonly topics: readonly {
        readonly topic: string;
        readonly partitions: readonly {
          readonly partition: number;
          readonly fetchOffset: string;
          readonly maxBytes: number;
        }[];
      }[];
    }): Promise<{
      readonly responses: readonly { readonly partitions: readonly { readonly messages: readonly RecordAnswer[] }[] }[];
    }>;
    listOffsets(request: {
      readonly isolationLevel: 0 | 1;
      readonly topics: readonly {
        readonly topic: string;
        readonly partitions: readonly { readonly partition: number; readonly timestamp: number }[];
      }[];
    }): Promise<{ readonly responses: readonly { readonly partitions: readonly PartitionAnswer[] }[] }>;
    createTopics(request: {
      readonly timeout: number;
      readonly topics: readonly {
        readonly topic: string;
        readonly numPartitions: number;
        readonly replicationFactor: number;
        readonly configEntries: readonly { readonly name: string; readonly value: string }[];
      }[];
    }): Promise<unknown>;
    deleteTopics(request: { readonly timeout: number; readonly topics: readonly string[] }): Promise<unknown>;
    describeConfigs(request: {
      readonly resources: readonly { readonly type: number; readonly name: string }[];
    }): Promise<DescribedConfigs>;
    findGroupCoordinator(request: {
      readonly groupId: string;
      readonly coordinatorType: 0;
    }): Promise<{ readonly coordinator: { readonly host: string; readonly port: number } }>;
    joinGroup(
      request: Membership & {
        readonly sessionTimeout: number;
        readonly rebalanceTimeout: number;
        readonly groupProtocols: readonly { readonly name: string; readonly metadata: Buffer }[];
      },
    ): Promise<{
      readonly generationId: number;
      readonly leaderId: string;
      readonly memberId: string;
      readonly members: readonly { readonly memberId: string; readonly memberMetadata: Buffer }[];
    }>;
    syncGroup(
      request: Membership & {
        readonly generationId: number;
        readonly groupAssignment: readonly { readonly memberId: string; readonly memberAssignment: Buffer }[];
      },
    ): Promise<{ readonly memberAssignment: Buffer }>;
    heartbeat(request: Membership & { readonly groupGenerationId: number }): Promise<unknown>;
    leaveGroup(request: Membership): Promise<unknown>;
    offsetFetch(request: {
      readonly groupId: string;
      readonly topics: readonly {
        readonly topic: string;
        readonly partitions: readonly { readonly partition: number }[];
      }[];
    }): Promise<{
      readonly responses: readonly {
        readonly topic: string;
        readonly partitions: readonly { readonly partition: number; readonly offset: string }[];
      }[];
    }>;
    deleteRecords(request: {
      readonly topics: readonly {
        readonly topic: string;
        readonly partitions: readonly { readonly partition: number; readonly offset: string }[];
      }[];
    }): Promise<unknown>;
  }
}

declare module 'kafkajs/src/network/connectionPool.js' {
  import type { ISocketFactory, SASLOptions } from 'kafkajs';
  import type { ConnectionOptions } from 'node:tls';

  export interface KafkajsLogger {
    namespace(name: string): KafkajsLogger;
    error(message: string, extra?: object): void;
    warn(message: string, extra?: object): void;
    info(message: string, extra?: object): void;
    debug(message: string, extra?: object): void;
  }
  interface Connection {
    readonly requestQueue: {
      readonly pending: readonly unknown[];
      scheduleCheckPendingRequests(): void;
    };
  }

  /** Two sockets to one broker: one for fetches and one for the rest. */
  export default class ConnectionPool {
    constructor(options: {
      readonly host: string;
      readonly port: number;
      readonly clientId: string;
      readonly logger: KafkajsLogger;
      readonly socketFactory: ISocketFactory;
      readonly connectionTimeout: number;
      readonly requestTimeout: number;
      readonly enforceRequestTimeout: boolean;
      readonly ssl: ConnectionOptions | null;
      readonly sasl: SASLOptions | null;
    });
    readonly pool: Connection[];
    getConnection(index?: number): Promise<Connection>;
    getConnectionByRequest(request: object): Promise<Connection>;
    send<Answer>(request: {
      readonly request: object;
      readonly response: { decode(payload: Buffer): Promise<Answer>; parse(answer: Answer): Promise<Answer> };
    }): Promise<Answer>;
  }
}

declare module 'kafkajs/src/protocol/requests/index.js' {
  const module: { readonly requests: Readonly<Record<string, unknown>> };
  export default module;
}

declare module 'kafkajs/src/protocol/requests/apiKeys.js' {
  const keys: Readonly<Record<string, number>>;
  export default keys;
}

declare module 'kafkajs/src/protocol/error.js' {
  const module: { createErrorFromCode(code: number): Error & { readonly type: string } };
  export default module;
}

declare module 'kafkajs/src/protocol/message/compression/index.js' {
  interface Codec {
    compress(encoder: object): Promise<Buffer>;
    decompress(buffer: Buffer): Promise<Buffer>;
  }
  const module: {
    readonly Types: { readonly Snappy: 2; readonly LZ4: 3; readonly ZSTD: 4 };
    readonly Codecs: Record<number, () => Codec>;
    /** Null for what is not compressed. */
    lookupCodecByAttributes(attributes: number): Codec | null;
  };
  export default module;
}

declare module 'kafkajs/src/protocol/decoder.js' {
  export default class Decoder {
    constructor(buffer: Buffer);
    readInt16(): number;
    readInt32(): number;
    readInt64(): bigint;
    readString(): string | null;
    /** As many as are told, else as many as stand in front of them. */
    readBytes(count?: number): Buffer | null;
    readArray<Item>(read: (decoder: Decoder) => Item): Item[];
  }
}

declare module 'kafkajs/src/consumer/assignerProtocol.js' {
  const module: {
    readonly MemberMetadata: {
      encode(metadata: {
        readonly version: number;
        readonly topics: readonly string[];
        readonly userData?: Buffer;
      }): Buffer;
      decode(buffer: Buffer): { readonly topics: readonly string[]; readonly userData: Buffer | null };
    };
    readonly MemberAssignment: {
      encode(assignment: { readonly version: number; readonly assignment: Record<string, readonly number[]> }): Buffer;
      /** Null of no bytes: the leader has said nothing of this member. */
      decode(buffer: Buffer): { readonly assignment: Readonly<Record<string, readonly number[]>> } | null;
    };
  };
  export default module;
}
