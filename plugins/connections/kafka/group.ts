import assigner from 'kafkajs/src/consumer/assignerProtocol.js';
import protocolErrors from 'kafkajs/src/protocol/error.js';
import type { Channel } from './channel.ts';
import type {
  GroupMember,
  GroupMembership,
  GroupWish,
  JoinedGroup,
  KafkaGroup,
  KafkaOffset,
  KafkaPartitions,
} from './driver.ts';
import { KeptChannel } from './kept-channel.ts';
import { askRaw } from './raw-request.ts';

const askMs = 5000;
/** What the coordinator may take more than a rebalance. */
const joinMs = 5000;

interface CommitAnswer {
  readonly responses: readonly {
    readonly topic: string;
    readonly partitions: readonly { readonly partition: number; readonly errorCode: number }[];
  }[];
}

/** A group over kafkajs, on whichever broker coordinates it. */
export class Group implements KafkaGroup {
  readonly #id: string;
  readonly #channel: KeptChannel;

  constructor(id: string, dialCoordinator: () => Promise<Channel>) {
    this.#id = id;
    this.#channel = new KeptChannel(dialCoordinator);
  }

  async join(wish: GroupWish): Promise<JoinedGroup> {
    const { memberId: known, protocol, topics, owned, sessionTimeoutMs, rebalanceTimeoutMs } = wish;
    const userData = Buffer.from(JSON.stringify(Object.fromEntries(owned)));
    const metadata = assigner.MemberMetadata.encode({ version: 0, topics, userData });
    const { memberId, generationId, leaderId, members } = await this.#ask(rebalanceTimeoutMs + joinMs, (channel, ms) =>
      channel.ask(
        (broker) =>
          broker.joinGroup({
            groupId: this.#id,
            memberId: known,
            sessionTimeout: sessionTimeoutMs,
            rebalanceTimeout: rebalanceTimeoutMs,
            groupProtocols: [{ name: protocol, metadata }],
          }),
        ms,
      ),
    );
    const isLeader = leaderId === memberId;
    return { memberId, generation: generationId, members: isLeader ? members.map(memberOf) : undefined };
  }

  async sync(
    { memberId, generation }: GroupMembership,
    shares?: ReadonlyMap<string, KafkaPartitions>,
  ): Promise<KafkaPartitions> {
    const groupAssignment = [...(shares ?? [])].map(([member, share]) => ({
      memberId: member,
      memberAssignment: assigner.MemberAssignment.encode({ version: 0, assignment: Object.fromEntries(share) }),
    }));
    const request = { groupId: this.#id, memberId, generationId: generation, groupAssignment };
    // Those who do not lead wait until the leader has said it.
    const { memberAssignment } = await this.#ask(2 * askMs, (channel, ms) =>
      channel.ask((broker) => broker.syncGroup(request), ms),
    );
    return new Map(Object.entries(assigner.MemberAssignment.decode(memberAssignment)?.assignment ?? {}));
  }

  async heartbeat({ memberId, generation }: GroupMembership): Promise<void> {
    const request = { groupId: this.#id, memberId, groupGenerationId: generation };
    await this.#ask(askMs, (channel, ms) => channel.ask((broker) => broker.heartbeat(request), ms));
  }

  async committed(partitions: KafkaPartitions): Promise<(topic: string, partition: number) => number | undefined> {
    const topics = [...partitions].map(([topic, all]) => ({
      topic,
      partitions: all.map((partition) => ({ partition })),
    }));
    const { responses } = await this.#ask(askMs, (channel, ms) =>
      channel.ask((broker) => broker.offsetFetch({ groupId: this.#id, topics }), ms),
    );
    const offsets = new Map(
      responses.flatMap(({ topic, partitions: all }) =>
        all.map(({ partition, offset }) => [`${topic}:${partition}`, Number(offset)] as const),
      ),
    );
    return (topic, partition) => {
      const offset = offsets.get(`${topic}:${partition}`) ?? -1;
      return offset < 0 ? undefined : offset;
    };
  }

  async commit(
    { memberId, generation }: GroupMembership,
    offsets: readonly KafkaOffset[],
  ): Promise<readonly KafkaOffset[]> {
    const topics = [...Map.groupBy(offsets, ({ topic }) => topic)].map(([topic, all]) => ({
      topic,
      partitions: all.map(({ partition, offset }) => ({ partition, offset: String(offset), metadata: '' })),
    }));
    const request = { groupId: this.#id, memberId, groupGenerationId: generation, topics };
    return this.#ask(askMs, async (channel, ms) => {
      const { responses } = await channel.ask((broker) => askRaw<CommitAnswer>(broker, 'OffsetCommit', request), ms);
      const refused = responses.flatMap(({ topic, partitions }) =>
        partitions.filter(({ errorCode }) => errorCode !== 0).map((each) => ({ topic, ...each })),
      );
      for (const { errorCode } of refused) {
        const error = protocolErrors.createErrorFromCode(errorCode);
        // What is said of one partition alone leaves the others committed.
        if (!ofPartition.has(error.type)) throw error;
      }
      return offsets.filter(({ topic, partition }) =>
        refused.some((each) => each.topic === topic && each.partition === partition),
      );
    });
  }

  async leave(memberId: string): Promise<void> {
    const request = { groupId: this.#id, memberId };
    await this.#ask(askMs, (channel, ms) => channel.ask((broker) => broker.leaveGroup(request), ms));
  }

  close(): void {
    this.#channel.close();
  }

  async #ask<Result>(timeoutMs: number, work: (channel: Channel, ms: number) => Promise<Result>): Promise<Result> {
    const channel = await this.#channel.open();
    try {
      return await work(channel, timeoutMs);
    } catch (error) {
      const { type = '' } = (error ?? {}) as { readonly type?: string };
      if (moved.has(type)) channel.close('it does not coordinate the group any more');
      throw error;
    }
  }
}

const moved = new Set(['NOT_COORDINATOR_FOR_GROUP', 'GROUP_COORDINATOR_NOT_AVAILABLE']);
const ofPartition = new Set([
  'UNKNOWN_TOPIC_OR_PARTITION',
  'TOPIC_AUTHORIZATION_FAILED',
  'OFFSET_METADATA_TOO_LARGE',
  'INVALID_COMMIT_OFFSET_SIZE',
]);

function memberOf({ memberId, memberMetadata }: { memberId: string; memberMetadata: Buffer }): GroupMember {
  const { topics, userData } = assigner.MemberMetadata.decode(memberMetadata);
  const owned = userData?.length ? (JSON.parse(userData.toString()) as Record<string, readonly number[]>) : {};
  return { memberId, topics, owned: new Map(Object.entries(owned)) };
}
