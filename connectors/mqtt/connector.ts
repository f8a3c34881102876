import { randomUUID } from 'node:crypto';
import type { IConnackPacket, IPublishPacket } from 'mqtt';
import { Observable, type Subscriber } from '../../core/kit/rxjs.ts';
import { sleep } from '../../core/contracts/clock.ts';
import type { Connector, ConnectorHealth, Credit } from '../../core/contracts/connector.ts';
import type { ConnectorHost } from '../../core/contracts/definition.ts';
import type { Delivery, Verdict } from '../../core/contracts/delivery.ts';
import { MillraceError } from '../../core/contracts/errors.ts';
import type { SourceMessage } from '../../core/contracts/message.ts';
import { failpoint } from '../../core/delivery/failpoint.ts';
import type { MqttConnection } from '../../plugins/connections/mqtt/connection.ts';
import type { MqttLink, MqttListener } from '../../plugins/connections/mqtt/link.ts';
import { isAskedFor, type MqttConnectorConfig } from './config.ts';
import { sourceMessageOf } from './message.ts';
import { type Loan, Window } from './window.ts';

/** A message on its way, the same however often it is tried; without a loan it is of QoS 0, and nobody gives it again. */
interface Taken {
  readonly message: SourceMessage;
  readonly loan: Loan | undefined;
}

interface Out {
  readonly subscriber: Subscriber<Delivery>;
  readonly credit: Credit;
}

/**
 * Subscriptions of one client, whose session the broker keeps. There is no way to hand a message back, nor to have one
 * given again but by a new connection: what cannot be enqueued now is kept here, unacknowledged, and tried again. Many are
 * under way at once, as many as the broker may give before it is told of the first (`receiveMaximum`).
 */
export class MqttConnector implements Connector, MqttListener {
  readonly #config: MqttConnectorConfig;
  readonly #host: ConnectorHost;
  readonly #mqtt: MqttConnection;
  readonly #counters;
  readonly #window = new Window();
  readonly #waiting: Taken[] = [];
  readonly #stop = new AbortController();
  /** Nothing of the broker's own names a message for longer than it takes to acknowledge it: this and a number do. */
  readonly #id = `${randomUUID()}:`;
  #given = 0;
  /** What is safe is told at the end of this turn of the event loop. */
  #telling: NodeJS.Immediate | undefined;
  #taking = false;
  /** Messages of QoS 0 that are not settled. */
  #loose = 0;
  #hasSession = false;
  #mustSubscribe = true;
  #most = 0;
  #room: PromiseWithResolvers<void> | undefined;
  /** Looked at already: messages mostly come by the topic of the one before. */
  #lastTopic: string | undefined;
  #isTold = { loose: false, strange: false };
  #link: MqttLink | undefined;
  #out: Out | undefined;

  constructor(config: MqttConnectorConfig, host: ConnectorHost, mqtt: MqttConnection) {
    this.#config = config;
    this.#host = host;
    this.#mqtt = mqtt;
    const { metrics } = host;
    this.#counters = {
      received: metrics.counter('received_total', 'Messages that the broker gave, each time it gave them.'),
      redelivered: metrics.counter('redelivered_total', 'Of these, those that it had given before.'),
      acknowledged: metrics.counter('acknowledged_total', 'Messages of QoS 1 and 2 that were acknowledged.'),
      unconfirmed: metrics.counter('unconfirmed_total', 'Messages of QoS 0, which nobody gives again.'),
      dropped: metrics.counter(
        'dropped_total',
        'Of these, those dropped because too many were unsettled, or at a stop.',
      ),
      ignored: metrics.counter('ignored_total', 'Retained messages that were not asked for.'),
      stale: metrics.counter(
        'stale_total',
        'Messages that were done when the broker had forgotten them, or gave them anew.',
      ),
      sessions: metrics.counter(
        'sessions_lost_total',
        'Times that the broker had lost the session, and what it kept there.',
      ),
    };
  }

  async start(): Promise<void> {
    const { delivery, subscribe } = this.#config;
    const { version, session } = this.#mqtt;
    if (session.clean && delivery !== 'at-most-once') {
      throw invalid(
        'its connection has session.clean: true, so that the broker keeps nothing while the gateway is away: leave that out ' +
          'and give clientId, or write delivery: at-most-once',
      );
    }
    const index = subscribe.findIndex(({ retain }) => version !== 5 && retain === 'new');
    if (index >= 0) throw invalid(`subscribe.${index}.retain: new needs version 5: use ignore or deliver`);
  }

  /** MQTT tells nobody what there is. */
  async check(): Promise<readonly string[]> {
    await this.start();
    return [];
  }

  deliveries(credit: Credit): Observable<Delivery> {
    return new Observable((subscriber) => {
      const { signal, logger, name } = this.#host;
      this.#out = { subscriber, credit };
      this.#most = Math.max(1, Math.min(this.#mqtt.session.receiveMaximum, credit.limit));
      const link = this.#mqtt.client(name, this.#most, this, logger);
      this.#link = link;
      // One that has failed elsewhere takes nothing more either.
      signal.addEventListener('abort', () => void link.stop(), { once: true });
      link.open().catch((error: unknown) => {
        if (!this.#stop.signal.aborted) subscriber.error(error);
      });
      return () => {
        this.#stop.abort();
        this.#acknowledge();
        for (const { loan } of this.#waiting.splice(0)) if (!loan) this.#drop();
        this.#makeRoom(true);
      };
    });
  }

  health(): ConnectorHealth {
    const { state, reconnects, lastError } = this.#link?.health() ?? { state: 'stopped', reconnects: 0 };
    const isStopped = this.#stop.signal.aborted || state === 'stopped';
    return { state: isStopped ? 'stopped' : state === 'connected' ? 'running' : state, reconnects, lastError };
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#link?.stop();
  }

  connected(isResumed: boolean): void {
    if (this.#hasSession && !isResumed && !this.#mqtt.session.clean) {
      this.#counters.sessions.inc();
      this.#host.logger.warn('the broker had lost the session, and what it kept there; subscribing again');
    }
    this.#window.reopen(isResumed);
    this.#mustSubscribe ||= !isResumed;
    this.#makeRoom();
  }

  async prepare(properties: IConnackPacket['properties']): Promise<void> {
    this.#look(properties);
    // Also where the session is resumed: Mosquitto says so after a restart, and has forgotten the shared subscriptions. But
    // retained messages are not to come each time.
    const isAgain = !this.#mustSubscribe;
    const mayRepeat = (retain: string): boolean => this.#mqtt.version === 5 || retain === 'ignore';
    const wanted = this.#config.subscribe
      .filter(({ share, retain }) => !isAgain || share !== undefined || mayRepeat(retain))
      .map(({ topic, qos, share, retain }) => ({
        topic: share === undefined ? topic : `$share/${share}/${topic}`,
        qos,
        rh: ({ deliver: isAgain ? 2 : 0, new: 1, ignore: 2 } as const)[retain],
      }));
    await this.#link?.subscribe(wanted);
    this.#mustSubscribe = false;
    this.#hasSession = true;
  }

  received(message: IPublishPacket): Promise<void> | undefined {
    // It comes again when the gateway does.
    if (this.#stop.signal.aborted) return;
    this.#counters.received.inc();
    if (message.dup) this.#counters.redelivered.inc();
    if (message.qos === 0) return this.#receiveLoose(message);
    const { loan, isKnown } = this.#window.take(message);
    if (isKnown) this.#acknowledge();
    else if (this.#isIgnored(message)) this.#safe(loan);
    else this.#give(message, loan);
    // Only version 5 has the broker wait by itself.
    if (this.#window.size <= this.#most) return;
    this.#room ??= Promise.withResolvers();
    return this.#room.promise;
  }

  released(messageId: number): void {
    this.#window.release(messageId);
  }

  #receiveLoose(message: IPublishPacket): undefined {
    if (this.#isIgnored(message)) return;
    this.#counters.unconfirmed.inc();
    if (this.#config.delivery !== 'at-most-once' && !this.#isTold.loose) {
      this.#isTold.loose = true;
      const { topic } = message;
      this.#host.logger.warn(
        { topic },
        'a message was sent with QoS 0: its sender lets it be lost, however this listens',
      );
    }
    this.#loose++;
    if (this.#loose > this.#config.buffer) this.#drop();
    else this.#give(message, undefined);
  }

  /** Version 3.1.1 cannot be told not to send them. */
  #isIgnored({ retain, topic }: IPublishPacket): boolean {
    const asked = retain && this.#mqtt.version !== 5 ? this.#config.subscribe : [];
    const isIgnored = asked.some((one) => one.retain === 'ignore' && isAskedFor({ subscribe: [one] }, topic));
    if (isIgnored) this.#counters.ignored.inc();
    return isIgnored;
  }

  #give(message: IPublishPacket, loan: Loan | undefined): void {
    const { topic } = message;
    if (topic !== this.#lastTopic && !this.#isTold.strange && !isAskedFor(this.#config, topic)) {
      this.#isTold.strange = true;
      const hint = 'its session still has an older subscription, which ends with the session';
      this.#host.logger.warn(
        { topic, hint },
        'a message came that this connector does not ask for; it is taken all the same',
      );
    }
    this.#lastTopic = topic;
    const id = `${this.#id}${++this.#given}`;
    const { contentType } = this.#config;
    this.#wait({ message: sourceMessageOf(message, { id, at: this.#host.clock.now(), contentType }), loan });
  }

  #wait(taken: Taken): void {
    this.#waiting.push(taken);
    if (!this.#taking) this.#take();
  }

  /** In the order in which they came. Not async: there mostly is credit, and a promise for each is 700 bytes of garbage. */
  #take(): void {
    const out = this.#out;
    if (!out) return;
    this.#taking = true;
    while (this.#waiting.length > 0 && out.credit.tryTake()) this.#next(out);
    this.#taking = this.#waiting.length > 0;
    if (!this.#taking) return;
    void out.credit.take(this.#stop.signal).then((isTaken) => {
      this.#taking = false;
      if (!isTaken) return;
      this.#next(out);
      this.#take();
    });
  }

  /** Credit has been taken for it. */
  #next({ subscriber, credit }: Out): void {
    const taken = this.#waiting.shift();
    // One that the broker has forgotten, or that is safe, is not wanted any more.
    if (taken && (!taken.loan || this.#window.holds(taken.loan))) subscriber.next(this.#delivery(taken));
    else credit.giveBack();
  }

  #delivery(taken: Taken): Delivery {
    failpoint('mqtt.after-receive');
    return this.#host.message(taken.message, { kind: 'settles', settle: (verdict) => this.#settle(taken, verdict) });
  }

  #settle(taken: Taken, verdict: Verdict): void {
    const { loan } = taken;
    if (verdict.kind === 'retry') {
      if (!this.#stop.signal.aborted) void this.#again(taken, verdict.delayMs);
      else if (!loan) this.#drop();
    } else if (loan) this.#safe(loan);
    else this.#loose--;
  }

  #safe(loan: Loan): void {
    if (!this.#window.settle(loan)) return this.#counters.stale.inc();
    failpoint('mqtt.before-ack');
    // The connection may end right behind the last one.
    if (this.#stop.signal.aborted) return this.#acknowledge();
    // Together: each acknowledgement would be a packet of its own.
    this.#telling ??= setImmediate(() => this.#acknowledge());
  }

  #acknowledge(): void {
    clearImmediate(this.#telling);
    this.#telling = undefined;
    const messages = this.#window.acknowledgeable;
    if (messages.length === 0) return;
    // While the connection is away they stay: the broker gives them again, and they are known then.
    if (!this.#link?.acknowledge(messages)) return this.#makeRoom(this.#window.held <= this.#most);
    failpoint('mqtt.after-ack');
    this.#window.told(messages.length);
    this.#counters.acknowledged.inc(messages.length);
    this.#makeRoom();
  }

  /** The same message once more: the broker would give it again only by a new connection. */
  async #again(taken: Taken, delayMs: number): Promise<void> {
    if (await sleep(delayMs, this.#stop.signal)) this.#wait(taken);
    else if (!taken.loan) this.#drop();
  }

  #makeRoom(isThere = this.#window.size <= this.#most): void {
    if (!isThere) return;
    this.#room?.resolve();
    this.#room = undefined;
  }

  #drop(): void {
    this.#loose--;
    this.#counters.dropped.inc();
    this.#host.logger.warn('a message of QoS 0 was dropped: too many are unsettled, or the gateway stops');
  }

  /** What the broker says of itself; version 3.1.1 says nothing. */
  #look(properties: IConnackPacket['properties']): void {
    const { subscribe, delivery } = this.#config;
    const { maximumQoS, sharedSubscriptionAvailable, wildcardSubscriptionAvailable, sessionExpiryInterval } =
      properties ?? {};
    const lacks = (what: string): MillraceError => invalid(`the broker says that it has no ${what}`);
    if (sharedSubscriptionAvailable === false && subscribe.some(({ share }) => share !== undefined)) {
      throw lacks('shared subscriptions: leave out share');
    }
    if (wildcardSubscriptionAvailable === false && subscribe.some(({ topic }) => /[+#]/.test(topic))) {
      throw lacks('wildcards: give whole topics');
    }
    if (maximumQoS !== undefined && subscribe.some(({ qos }) => qos > maximumQoS)) {
      throw lacks(`more than QoS ${maximumQoS}: give a lower qos`);
    }
    if (sessionExpiryInterval === 0 && delivery !== 'at-most-once') {
      throw invalid(
        'the broker ends each session with its connection: allow sessions there, or write delivery: at-most-once',
      );
    }
    if (sessionExpiryInterval !== undefined) {
      this.#host.logger.warn(
        { seconds: sessionExpiryInterval },
        'the broker keeps the session for another time than asked',
      );
    }
  }
}

function invalid(message: string): MillraceError {
  return new MillraceError('config.invalid', message);
}
