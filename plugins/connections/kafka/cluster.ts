import protocolErrors from 'kafkajs/src/protocol/error.js';
import { AsyncLocalStorage } from 'node:async_hooks';
import { sleep } from '../../../core/contracts/clock.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import { type Address, Channel, type ChannelOptions } from './channel.ts';
import type { KafkaDriver, KafkaGroup, KafkaPartition, TopicFacts, TopicWish } from './driver.ts';
import { Group } from './group.ts';
import { Partition } from './partition.ts';
import { askRaw } from './raw-request.ts';

/** The answer to what a broker can say at once. */
const askMs = 5000;
const openMs = 3000;
const pingMs = 3000;
const resource = { topic: 2, broker: 4 } as const;
/** So long are leaders looked for. */
const patienceMs = 5000;
const againMs = 100;

/** Of each topic and partition by itself, also where something is wrong with one of them. */
interface RawMetadata {
  readonly brokers: readonly (Address & { readonly nodeId: number })[];
  readonly topicMetadata: readonly {
    readonly topicErrorCode: number;
    readonly topic: string;
    readonly isInternal?: boolean;
    readonly partitionMetadata: readonly { readonly partitionId: number; readonly leader: number }[];
  }[];
}

/** The driver on kafkajs: one socket to any of the brokers for what any of them knows, and one for each partition opened. */
export class Cluster implements KafkaDriver {
  readonly #addresses: readonly Address[];
  readonly #options: ChannelOptions;
  readonly #asOwn = AsyncLocalStorage.snapshot();
  #control: Channel | undefined;

  constructor(addresses: readonly Address[], options: ChannelOptions) {
    this.#addresses = addresses;
    this.#options = options;
  }

  /** Tries each of the brokers once; resolves with what aborts when the one that was found is lost. */
  async dial(timeoutMs: number): Promise<AbortSignal> {
    let refusal: unknown;
    for (const address of this.#addresses) {
      try {
        const channel = await this.#open(address, timeoutMs);
        await check(channel, Math.min(timeoutMs, askMs));
        this.#control = channel;
        return channel.lost;
      } catch (error) {
        // What a waiting broker says is worth more than that another one is not there.
        refusal = refusal === undefined || isAnswer(error) ? error : refusal;
      }
    }
    throw refusal;
  }

  get connected(): boolean {
    return this.#control !== undefined && !this.#control.lost.aborted;
  }

  /** Rejects, and the connection is lost, when the broker does not answer. */
  async ping(): Promise<void> {
    await this.#control?.ask((broker) => broker.apiVersions(), pingMs);
  }

  /** Gives up the broker that was dialled, not the partitions that were opened. */
  leave(reason: string): void {
    this.#control?.close(reason);
  }

  async describeTopic(topic: string): Promise<TopicFacts | undefined> {
    return this.#settled(async () => {
      try {
        const { topicMetadata } = await this.#ask((broker) => broker.metadata([topic]));
        const parts = topicMetadata[0]?.partitionMetadata ?? [];
        const settings = await this.#settings(resource.topic, topic);
        return { partitions: parts.length, replicas: Math.min(...parts.map((each) => each.replicas.length)), settings };
      } catch (error) {
        if (typeOf(error) === 'UNKNOWN_TOPIC_OR_PARTITION') return undefined;
        throw error;
      }
    });
  }

  async createTopic({ topic, partitions, replicas, settings }: TopicWish): Promise<void> {
    const configEntries = Object.entries(settings).map(([name, value]) => ({ name, value }));
    const topics = [{ topic, numPartitions: partitions, replicationFactor: replicas, configEntries }];
    await this.#onController(async (channel) => {
      try {
        await channel.ask((broker) => broker.createTopics({ topics, timeout: askMs }), 2 * askMs);
      } catch (error) {
        // kafkajs has one error for all topics of the request.
        const [cause = error] = (error as { readonly errors?: readonly unknown[] }).errors ?? [];
        if (typeOf(cause) !== 'TOPIC_ALREADY_EXISTS') throw cause;
      }
    });
    // Brokers hear of it a little later than the controller, and whichever leads a partition may be the last to.
    for (let partition = 0; partition < partitions; partition++) {
      const made = this.open(topic, partition);
      try {
        await this.#settled(() => made.bounds(), 'UNKNOWN_TOPIC_OR_PARTITION');
      } finally {
        made.close();
      }
    }
  }

  async deleteTopic(topic: string): Promise<void> {
    await this.#onController((channel) =>
      channel.ask((broker) => broker.deleteTopics({ topics: [topic], timeout: askMs }), 2 * askMs),
    );
  }

  async brokerSetting(name: string): Promise<string | undefined> {
    const { brokers } = await this.#ask((broker) => broker.metadata([]));
    return (await this.#settings(resource.broker, String(brokers[0]?.nodeId ?? 0))).get(name);
  }

  async topics(): Promise<ReadonlyMap<string, number>> {
    const { topicMetadata } = await this.#metadata([]);
    const known = topicMetadata.filter(({ topicErrorCode, isInternal }) => topicErrorCode === 0 && isInternal !== true);
    return new Map(known.map(({ topic, partitionMetadata }) => [topic, partitionMetadata.length]));
  }

  group(id: string): KafkaGroup {
    return new Group(id, () => this.#settled(() => this.#dialCoordinator(id), 'GROUP_COORDINATOR_NOT_AVAILABLE'));
  }

  open(topic: string, partition: number): KafkaPartition {
    return new Partition(topic, partition, {
      dialLeader: () => this.#settled(() => this.#dialLeader(topic, partition)),
      connected: () => this.connected,
    });
  }

  /** As the connection's code, whoever needs it first: what the client does by itself is not the queue's doing. */
  #open(address: Address, timeoutMs = openMs): Promise<Channel> {
    return this.#asOwn(() => Channel.open(address, this.#options, Math.min(timeoutMs, openMs)));
  }

  /** Of all topics when none is named. */
  #metadata(topics: readonly string[]): Promise<RawMetadata> {
    const options = { topics, allowAutoTopicCreation: false };
    return this.#ask((broker) => askRaw<RawMetadata>(broker, 'Metadata', options));
  }

  async #dialCoordinator(groupId: string): Promise<Channel> {
    const { coordinator } = await this.#ask((broker) => broker.findGroupCoordinator({ groupId, coordinatorType: 0 }));
    return this.#open(coordinator);
  }

  async #dialLeader(topic: string, partition: number): Promise<Channel> {
    const { brokers, topicMetadata } = await this.#metadata([topic]);
    const { topicErrorCode = 0, partitionMetadata = [] } = topicMetadata[0] ?? {};
    if (topicErrorCode !== 0) throw protocolErrors.createErrorFromCode(topicErrorCode);
    const part = partitionMetadata.find(({ partitionId }) => partitionId === partition);
    const leader = brokers.find(({ nodeId }) => nodeId === part?.leader);
    if (!leader) throw away(`the partition ${partition} of the topic ${topic} has no leader now`);
    return this.#open(leader);
  }

  async #settings(type: number, name: string): Promise<Map<string, string>> {
    const { resources } = await this.#ask((broker) => broker.describeConfigs({ resources: [{ type, name }] }));
    const entries = resources[0]?.configEntries ?? [];
    return new Map(entries.map(({ configName, configValue }) => [configName, configValue ?? '']));
  }

  /** Any broker of KRaft hands it on; with ZooKeeper the controller has to be asked itself. */
  async #onController<Result>(work: (channel: Channel) => Promise<Result>): Promise<Result> {
    const { brokers, controllerId } = await this.#ask((broker) => broker.metadata([]));
    const controller = brokers.find(({ nodeId }) => nodeId === controllerId);
    if (!controller) throw away('the cluster has no controller now');
    const channel = await this.#open(controller);
    try {
      return await work(channel);
    } finally {
      channel.close('it is not needed any more');
    }
  }

  async #ask<Result>(work: Parameters<typeof Channel.prototype.ask<Result>>[0]): Promise<Result> {
    if (!this.#control || this.#control.lost.aborted) throw away('the broker cannot be reached');
    return this.#control.ask(work, askMs);
  }

  /** Waits, as long as a broker can be reached at all, for one that leads: a topic was just made, or a broker has died. */
  async #settled<Result>(work: () => Promise<Result>, also?: string): Promise<Result> {
    const deadline = performance.now() + patienceMs;
    for (;;) {
      try {
        return await work();
      } catch (error) {
        const type = typeOf(error);
        const passes = type === undefined || type === also || unsettled.has(type);
        if (!passes || !this.connected || performance.now() + againMs >= deadline) throw error;
        await sleep(againMs);
      }
    }
  }
}

const unsettled = new Set(['LEADER_NOT_AVAILABLE', 'REPLICA_NOT_AVAILABLE', 'BROKER_NOT_AVAILABLE']);

/** Asks something that only who is logged in may ask, if that is demanded. */
async function check(channel: Channel, timeoutMs: number): Promise<void> {
  try {
    await channel.ask((broker) => broker.metadata(['__consumer_offsets']), timeoutMs);
  } catch (error) {
    // Whatever it says, it has answered.
    if (typeOf(error) !== undefined) return;
    channel.close('it did not answer');
    throw away(`it ends the connection at the first request: does it expect sasl or tls? (${messageOf(error)})`);
  }
}

/** The broker's own word for an error; undefined where it gave none. */
function typeOf(error: unknown): string | undefined {
  const { type } = (error ?? {}) as { readonly type?: unknown };
  return typeof type === 'string' ? type : undefined;
}

/** Somebody was there and said no. */
function isAnswer(error: unknown): boolean {
  return typeOf(error) !== undefined || (error as { name?: unknown } | null)?.name === 'KafkaJSSASLAuthenticationError';
}

function away(message: string): MillraceError {
  return new MillraceError('connection.unavailable', message, { retryAfterSeconds: 1 });
}
