import { sleep, sleepUnless } from '../../core/contracts/clock.ts';
import type { ConnectorHost } from '../../core/contracts/definition.ts';
import { messageOf, MillraceError } from '../../core/contracts/errors.ts';
import type { KafkaConnection } from '../../plugins/connections/kafka/connection.ts';
import type { GroupMembership, KafkaGroup, KafkaOffset } from '../../plugins/connections/kafka/driver.ts';
import type { Assignment } from './assignment.ts';
import type { KafkaConnectorConfig } from './config.ts';
import { protocol, share } from './share.ts';
import type { Subscription } from './subscription.ts';

const pauseMs = { first: 100, last: 5000 } as const;
const heartbeatMs = 3000;
/** What the others wait for more than the drain. */
const graceMs = 20_000;

export interface MemberParts {
  readonly config: KafkaConnectorConfig;
  readonly host: ConnectorHost;
  readonly kafka: KafkaConnection;
  readonly group: KafkaGroup;
  readonly subscription: Subscription;
  readonly assignment: Assignment;
  /** Called each time that it has been given its partitions. */
  readonly joined: () => void;
  /** Calls `wake` when nothing is unsettled; returns what ends that. */
  readonly onIdle: (wake: () => void) => () => void;
  /** Commits what has been settled. Never rejects. */
  readonly commit: () => Promise<void>;
}

/** This gateway as a member of the consumer group: joins, says that it lives, and joins again when others come and go. */
export class Member {
  readonly #parts: MemberParts;
  #memberId = '';
  /** Undefined while it joins: what is said of offsets then would be refused, or be wrong. */
  #membership: GroupMembership | undefined;
  #last: GroupMembership | undefined;
  #heardAt = -Infinity;
  #lookedAt = -Infinity;
  #failure: unknown;
  #wake: (() => void) | undefined;
  #error: string | undefined;

  constructor(parts: MemberParts) {
    this.#parts = parts;
  }

  get membership(): GroupMembership | undefined {
    return this.#membership;
  }

  get error(): string | undefined {
    return this.#error;
  }

  /** Whether the coordinator must still take it for alive: it may have been asleep for longer than anybody waits. */
  isCurrent(): boolean {
    return this.#membership !== undefined && this.#now() < this.#heardAt + this.#parts.config.sessionTimeout;
  }

  /**
   * Until `stop` aborts; then it leaves, so that others need not wait until it is taken for dead. When `closing` aborts
   * nothing more is taken, and it leaves with the next rebalance. Rejects when no waiting will mend it.
   */
  async run(stop: AbortSignal, closing: AbortSignal): Promise<void> {
    let pause: number = pauseMs.first;
    try {
      while (!stop.aborted) {
        try {
          if (!this.#membership) await this.#join();
          if (!closing.aborted) this.#parts.assignment.resume();
          pause = pauseMs.first;
          await this.#stay(stop);
          if (!stop.aborted) await this.#drain(stop);
          if (stop.aborted || closing.aborted) return;
          this.#membership = undefined;
        } catch (error) {
          if (stop.aborted) return;
          this.#heed(error);
          await this.#pause(pause * (0.5 + Math.random() / 2), stop);
          pause = Math.min(pause * 2, pauseMs.last);
        }
      }
    } finally {
      await this.#leave();
    }
  }

  commit(membership: GroupMembership, offsets: readonly KafkaOffset[]): Promise<readonly KafkaOffset[]> {
    return this.#parts.group.commit(membership, offsets);
  }

  /** Ends whatever it waits for. */
  close(): void {
    this.#parts.group.close();
  }

  /** The coordinator has refused what was said with that membership. */
  refused(membership: GroupMembership, error: unknown): void {
    if (membership !== this.#membership || !isLost.has(typeOf(error) ?? '')) return;
    this.#failure = error;
    this.#wake?.();
  }

  async #join(): Promise<void> {
    const { config, group, host, subscription, assignment } = this.#parts;
    const { sessionTimeout, drainTimeout } = config;
    await this.#lookAgain();
    const joined = await group.join({
      memberId: this.#memberId,
      protocol,
      topics: subscription.topics,
      owned: assignment.partitions,
      sessionTimeoutMs: sessionTimeout,
      rebalanceTimeoutMs: drainTimeout + graceMs,
    });
    this.#memberId = joined.memberId;
    const heardAt = this.#now();
    const shares = joined.members && share(joined.members, subscription.counts);
    const membership = { memberId: joined.memberId, generation: joined.generation };
    const partitions = await group.sync(membership, shares);
    const last = this.#last;
    const goesOn = last?.memberId === membership.memberId && membership.generation - last.generation <= 1;
    await assignment.adopt(partitions, goesOn, subscription.counts);
    this.#failure = undefined;
    this.#error = undefined;
    this.#heardAt = heardAt;
    this.#last = membership;
    this.#membership = membership;
    this.#parts.joined();
    host.logger.info({ ...membership, partitions: Object.fromEntries(partitions) }, 'joined the consumer group');
  }

  /** Until the group, or what it reads, changes. */
  async #stay(stop: AbortSignal): Promise<void> {
    for (;;) {
      await sleepUnless(this.#everyMs, stop, (wake) => {
        this.#wake = wake;
        if (this.#failure !== undefined) wake();
        return () => (this.#wake = undefined);
      });
      if (stop.aborted) return;
      if (await this.#isRebalancing()) return;
      const isLookedFor = this.#now() >= this.#lookedAt + this.#parts.config.refresh;
      if (isLookedFor && (await this.#lookAgain())) return;
    }
  }

  /** What runs may end, for a while: then fewer of them run once more at another member. */
  async #drain(stop: AbortSignal): Promise<void> {
    const { config, assignment, onIdle, commit } = this.#parts;
    assignment.hold();
    const deadline = this.#now() + config.drainTimeout;
    for (let left = config.drainTimeout; left > 0 && assignment.unsettled > 0; left = deadline - this.#now()) {
      await sleepUnless(Math.min(left, this.#everyMs), stop, onIdle);
      if (stop.aborted) return;
      await this.#isRebalancing();
    }
    await commit();
  }

  /** Says that it lives; whether the group is being shared out anew. */
  async #isRebalancing(): Promise<boolean> {
    if (this.#failure !== undefined) throw this.#failure;
    if (!this.#membership) return true;
    const saidAt = this.#now();
    try {
      await this.#parts.group.heartbeat(this.#membership);
      this.#heardAt = saidAt;
      this.#error = undefined;
      return false;
    } catch (error) {
      if (typeOf(error) !== 'REBALANCE_IN_PROGRESS') throw error;
      this.#heardAt = saidAt;
      return true;
    }
  }

  async #leave(): Promise<void> {
    const { group, host, assignment, commit } = this.#parts;
    await commit();
    this.#membership = undefined;
    assignment.lose();
    if (this.#memberId !== '') {
      await group.leave(this.#memberId).catch((error: unknown) => {
        host.logger.warn({ err: error }, 'the group was not told that this gateway leaves; it will notice');
      });
    }
    group.close();
  }

  get #everyMs(): number {
    return Math.max(1, Math.min(heartbeatMs, this.#parts.config.sessionTimeout / 3));
  }

  /** Whether what is subscribed to has changed. */
  #lookAgain(): Promise<boolean> {
    this.#lookedAt = this.#now();
    return this.#parts.subscription.look();
  }

  #heed(error: unknown): void {
    const { config, host, assignment } = this.#parts;
    const type = typeOf(error) ?? '';
    const { group } = config.subscribe;
    if (type === 'INCONSISTENT_GROUP_PROTOCOL') {
      throw invalid(`subscribe.group: ${group} is a group of other clients: give one that is for gateways alone`);
    }
    if (type === 'INVALID_SESSION_TIMEOUT') {
      throw invalid(
        'sessionTimeout: the brokers do not take it: see their group.min. and group.max.session.timeout.ms',
      );
    }
    this.#error = messageOf(error);
    host.logger.warn({ err: error, group }, 'the consumer group could not be kept to; going on');
    if (!isLost.has(type)) return;
    this.#failure = undefined;
    this.#membership = undefined;
    this.#last = undefined;
    assignment.lose();
    if (type === 'UNKNOWN_MEMBER_ID') this.#memberId = '';
  }

  async #pause(delayMs: number, signal: AbortSignal): Promise<void> {
    const isBack = await sleepUnless(delayMs, signal, (wake) => this.#parts.kafka.onBack(wake));
    // All that lost the same broker do not come back in the same moment.
    if (isBack) await sleep(Math.random() * 100, signal);
  }

  #now(): number {
    return this.#parts.host.clock.monotonic();
  }
}

/** Its generation is over, and its partitions are with others. */
const isLost = new Set(['UNKNOWN_MEMBER_ID', 'ILLEGAL_GENERATION', 'FENCED_INSTANCE_ID']);

function typeOf(error: unknown): string | undefined {
  const { type } = (error ?? {}) as { readonly type?: unknown };
  return typeof type === 'string' ? type : undefined;
}

function invalid(message: string): MillraceError {
  return new MillraceError('config.invalid', message);
}
