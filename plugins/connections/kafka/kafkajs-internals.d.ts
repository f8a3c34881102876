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

  /** One broker. */
  export default class Broker {
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
  }
}
