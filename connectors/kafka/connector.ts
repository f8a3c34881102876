import { Observable, type Subscriber } from '../../core/kit/rxjs.ts';
import { setMaxListeners } from 'node:events';
import { sleep, within } from '../../core/contracts/clock.ts';
import type { Connector, ConnectorHealth, Credit } from '../../core/contracts/connector.ts';
import type { ConnectorHost } from '../../core/contracts/definition.ts';
import type { Delivery, Verdict } from '../../core/contracts/delivery.ts';
import { messageOf } from '../../core/contracts/errors.ts';
import { failpoint } from '../../core/delivery/failpoint.ts';
import type { KafkaConnection } from '../../plugins/connections/kafka/connection.ts';
import type { KafkaMessage } from '../../plugins/connections/kafka/driver.ts';
import { Assignment, nameOf } from './assignment.ts';
import type { KafkaConnectorConfig } from './config.ts';
import { Feed } from './feed.ts';
import { Member } from './member.ts';
import { sourceMessageOf } from './message.ts';
import { Subscription } from './subscription.ts';
import type { Receipt } from './watermark.ts';

const commitMs = 1000;
const commitAfter = 500;
const lookMs = 5000;

interface Reached {
  offset: number;
}

/** A message that is not settled. */
interface Held {
  readonly feed: Feed;
  readonly message: KafkaMessage;
  readonly receipt: Receipt;
  attempt: number;
}

/**
 * A member of a consumer group. Several messages of a partition run at once, and what is committed is the oldest one that
 * has not ended. While they run the group hears of this member by a timer of its own, so none can run for too long.
 */
export class KafkaConnector implements Connector {
  readonly #config: KafkaConnectorConfig;
  readonly #host: ConnectorHost;
  readonly #kafka: KafkaConnection;
  readonly #counters;
  /** The highest offset that was received of each partition, whoever had it since. */
  readonly #reached = new Map<string, Reached>();
  readonly #idle = new Set<() => void>();
  readonly #closing = new AbortController();
  readonly #stop = new AbortController();
  readonly #timers: NodeJS.Timeout[] = [];
  #assignment: Assignment | undefined;
  #member: Member | undefined;
  #running: Promise<void> | undefined;
  #committing: Promise<void> = Promise.resolve();
  #settled = 0;
  #commitError: string | undefined;
  #out: { readonly subscriber: Subscriber<Delivery>; readonly credit: Credit } | undefined;

  constructor(config: KafkaConnectorConfig, host: ConnectorHost, kafka: KafkaConnection) {
    this.#config = config;
    this.#host = host;
    this.#kafka = kafka;
    setMaxListeners(0, this.#closing.signal, this.#stop.signal);
    const { metrics } = host;
    this.#counters = {
      received: metrics.counter('received_total', 'Messages that were read, each time they were.'),
      redelivered: metrics.counter('redelivered_total', 'Of these, those that this gateway had read before.'),
      acknowledged: metrics.counter('acknowledged_total', 'Messages that were done, and the broker took the commit.'),
      stale: metrics.counter('stale_total', 'Messages that were done when others had their partition already.'),
      rebalances: metrics.counter('rebalances_total', 'How often the group was joined.'),
      outOfRange: metrics.counter('out_of_range_total', 'How often what was to be read next was not kept any more.'),
      partitions: metrics.gauge('partitions', 'Partitions that this gateway has.'),
    };
  }

  async start(): Promise<void> {
    const { driver } = this.#kafka;
    const subscription = new Subscription(this.#config, this.#kafka);
    await subscription.check();
    const group = driver.group(this.#config.subscribe.group);
    const assignment = new Assignment({
      config: this.#config,
      group,
      open: (topic, partition, from) => this.#open(topic, partition, from),
      changed: (count) => this.#counters.partitions.set(count),
    });
    this.#assignment = assignment;
    this.#member = new Member({
      config: this.#config,
      host: this.#host,
      kafka: this.#kafka,
      group,
      subscription,
      assignment,
      joined: () => this.#counters.rebalances.inc(),
      onIdle: (wake) => {
        this.#idle.add(wake);
        if (assignment.unsettled === 0) wake();
        return () => this.#idle.delete(wake);
      },
      commit: () => this.#commit(),
    });
  }

  async check(): Promise<readonly string[]> {
    await new Subscription(this.#config, this.#kafka).check();
    return [];
  }

  deliveries(credit: Credit): Observable<Delivery> {
    return new Observable((subscriber) => {
      this.#out = { subscriber, credit };
      this.#timers.push(
        setInterval(() => void this.#commit(), commitMs),
        setInterval(() => this.#look(), lookMs),
      );
      this.#running = this.#member
        ?.run(this.#stop.signal, this.#closing.signal)
        .catch((error: unknown) => subscriber.error(error));
      return () => {
        this.#closing.abort();
        this.#assignment?.hold();
      };
    });
  }

  health(): ConnectorHealth {
    const { state, reconnects, lastError } = this.#kafka.health();
    const isStopped = this.#closing.signal.aborted || !this.#out;
    const isJoined = state === 'connected' && this.#member?.membership !== undefined;
    const { feeds = [] } = this.#assignment ?? {};
    const lags = feeds.map(({ lag }) => lag);
    const own = this.#member?.error ?? feeds.find(({ error }) => error !== undefined)?.error ?? this.#commitError;
    return {
      state: isStopped ? 'stopped' : isJoined ? 'running' : 'reconnecting',
      reconnects,
      // Of the partitions that this gateway has: others tell of theirs.
      lag: lags.includes(undefined) ? undefined : lags.reduce<number>((sum, lag) => sum + (lag ?? 0), 0),
      lastError: state === 'connected' ? own : lastError,
    };
  }

  async stop(deadlineMs: number): Promise<void> {
    this.#closing.abort();
    this.#assignment?.hold();
    this.#stop.abort();
    for (const timer of this.#timers) clearInterval(timer);
    // What has been settled is committed in any case, if the broker is there.
    await within(this.#running, Math.max(deadlineMs, commitMs));
    this.#member?.close();
  }

  #open(topic: string, partition: number, from: number | 'earliest' | 'latest'): Feed {
    const { credit } = this.#out ?? {};
    if (!credit) throw new Error('partitions came before anybody asked for messages');
    const name = nameOf({ topic, partition });
    const reached = this.#reached.get(name) ?? { offset: -1 };
    this.#reached.set(name, reached);
    return new Feed(topic, partition, {
      config: this.#config,
      logger: this.#host.logger,
      source: this.#kafka.driver.open(topic, partition),
      from,
      credit,
      isCurrent: () => this.#member?.isCurrent() ?? false,
      receive: (feed, message, receipt) => this.#receive(feed, message, receipt, reached),
      outOfRange: () => this.#counters.outOfRange.inc(),
    });
  }

  #receive(feed: Feed, message: KafkaMessage, receipt: Receipt, reached: Reached): void {
    this.#counters.received.inc();
    if (message.offset <= reached.offset) this.#counters.redelivered.inc();
    else reached.offset = message.offset;
    this.#give({ feed, message, receipt, attempt: 1 });
  }

  #give(held: Held): void {
    const { feed, message, attempt } = held;
    const { keyed } = this.#config.concurrency;
    const given = { attempt, keyed, clock: this.#host.clock };
    let isSaid = false;
    const delivery = this.#host.message(sourceMessageOf(feed.topic, feed.partition, message, given), {
      kind: 'settles',
      settle: (verdict) => {
        // A second word would run it again, or count one more of its partition as settled.
        if (isSaid) return;
        isSaid = true;
        this.#settle(held, verdict);
      },
    });
    failpoint('kafka.received');
    this.#out?.subscriber.next(delivery);
  }

  #settle(held: Held, verdict: Verdict): void {
    const { feed, message, receipt } = held;
    if (verdict.kind === 'retry') {
      // There is no handing back: it is kept until what is in its way has passed.
      if (!this.#closing.signal.aborted) void this.#again(held, verdict.delayMs, verdict.counted);
      return;
    }
    if (feed.ended.aborted) {
      this.#counters.stale.inc();
      const { topic, partition } = feed;
      const about = { topic, partition, offset: message.offset };
      this.#host.logger.warn(about, 'a message was done too late: others have its partition');
      return;
    }
    failpoint('kafka.settled');
    feed.settle(receipt);
    this.#settled++;
    if (this.#settled >= commitAfter) void this.#commit();
    if (this.#idle.size > 0 && this.#assignment?.unsettled === 0) for (const wake of this.#idle) wake();
  }

  /** The same message once more, with the credit that it needs for that. */
  async #again(held: Held, delayMs: number, counted: boolean): Promise<void> {
    const { ended } = held.feed;
    const { credit } = this.#out ?? {};
    await sleep(delayMs, ended);
    if (this.#closing.signal.aborted || !(await credit?.take(ended))) return;
    if (this.#closing.signal.aborted || ended.aborted) return credit?.giveBack();
    if (counted) held.attempt++;
    this.#give(held);
  }

  /** One at a time, each with all that is due by then. */
  #commit(): Promise<void> {
    this.#settled = 0;
    this.#committing = this.#committing.then(() => this.#commitDue());
    return this.#committing;
  }

  async #commitDue(): Promise<void> {
    const member = this.#member;
    const membership = member?.membership;
    const due = (this.#assignment?.feeds ?? []).flatMap((feed) =>
      feed.due === undefined ? [] : [{ feed, offset: feed.due, done: feed.done }],
    );
    if (!member || !membership || due.length === 0) return;
    const offsets = due.map(({ feed: { topic, partition }, offset }) => ({ topic, partition, offset }));
    try {
      failpoint('kafka.committing');
      const refused = new Set(await member.commit(membership, offsets));
      failpoint('kafka.committed');
      for (const [index, { feed, offset, done }] of due.entries()) {
        const asked = offsets[index];
        if (asked && !refused.has(asked)) this.#counters.acknowledged.inc(feed.committed(offset, done));
      }
      const [first] = refused;
      this.#commitError = first && `topic ${first.topic}, partition ${first.partition}: the offset was not taken`;
    } catch (error) {
      this.#commitError = messageOf(error);
      this.#host.logger.warn({ err: error }, 'what is done could not be committed; saying it again');
      member.refused(membership, error);
    }
  }

  #look(): void {
    for (const feed of this.#assignment?.feeds ?? []) {
      // Only the lag is older then, and the next read says what is wrong.
      feed.look().catch((error: unknown) => this.#host.logger.debug({ err: error }, 'the end could not be asked'));
    }
  }
}
