import type { Logger } from 'pino';
import type { ConnectorConfig } from '../config/schema.ts';
import type { MessageSettings } from '../config/messages.ts';
import { type Clock, sleep } from '../contracts/clock.ts';
import type { PluginMetrics } from '../contracts/definition.ts';
import {
  Delivery,
  type DeliveryOptions,
  type DeliveryRequest,
  type Settlement,
  type Verdict,
} from '../contracts/delivery.ts';
import { messageOf } from '../contracts/errors.ts';
import type { Mode, Outcome, ReplyTarget } from '../contracts/invocation.ts';
import type { MessageTraits, SourceMessage } from '../contracts/message.ts';
import { failedItems } from '../delivery/items.ts';
import { succeeded } from '../delivery/retry.ts';
import type { Catalog } from '../functions/catalog.ts';
import { headersOfMessage, type Origin, originOf } from '../kit/event.ts';
import { failed, type Refusal } from '../kit/outcome.ts';
import { Batcher } from './batcher.ts';
import { Bucket } from './bucket.ts';
import { Debouncer } from './debouncer.ts';
import { eventOf, type EventView, structured } from './event.ts';
import { expression, type Expression } from './expression.ts';
import { passes } from './filters.ts';
import { joinedVerdict, wholeVerdict } from './joined.ts';
import { targetsOf } from './targets.ts';

export interface IntakeParts {
  readonly catalog: Pick<Catalog, 'list' | 'changes'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: PluginMetrics;
  /** Called when a connector could not be told. */
  readonly settleFailed: () => void;
}

/** One message on its way through here. */
interface Item {
  /** What the connector emitted: its settlement and its credit are the message's. */
  readonly carrier: Delivery;
  readonly message: SourceMessage;
  readonly event: EventView;
  readonly targets: readonly string[];
  readonly orderKey: string | undefined;
  /** What `map` made of it. */
  readonly mapped: unknown;
  readonly replyKey: string | undefined;
}

/** What is run at once: one message, or a batch of them. */
type Run = readonly [Item, ...Item[]];

/**
 * What stands between a connector of messages and the pipeline: which messages are run, as what, in which order, how many
 * together, and by which functions. Each message stays unsettled at its broker until all of its runs have ended.
 */
export class Intake {
  readonly #config: ConnectorConfig;
  readonly #origin: Origin;
  readonly #settings: MessageSettings;
  readonly #parts: IntakeParts;
  readonly #targets: (topic: string) => readonly string[];
  readonly #map: Expression | undefined;
  readonly #orderKey: Expression | undefined;
  readonly #replyKey: Expression | undefined;
  readonly #debounceKey: Expression | undefined;
  readonly #debouncer: Debouncer<Item> | undefined;
  readonly #batcher: Batcher<Item> | undefined;
  readonly #bucket: Bucket | undefined;
  readonly #counters;
  /** By order key: runs that wait for the one before them. */
  readonly #lanes = new Map<string, Run[]>();
  readonly #stop = new AbortController();
  readonly #isPlain: boolean;
  /** Wall clock, ms: set while the messages of one go are taken. */
  #takenAt: number | undefined;
  readonly #goneOn = (): void => {
    this.#takenAt = undefined;
  };
  /** Expressions take their time; messages go on in the order in which they came. */
  #tail: Promise<void> = Promise.resolve();
  #out: (delivery: Delivery) => void = () => {};

  constructor(config: ConnectorConfig, settings: MessageSettings, traits: MessageTraits, parts: IntakeParts) {
    this.#config = config;
    this.#origin = originOf(config.kind, config.name);
    this.#settings = settings;
    this.#parts = parts;
    const { filters, maxAge, map, order, debounce, batch, rateLimit, reply } = settings;
    this.#targets = targetsOf(settings, traits, parts.catalog, this.#stop.signal);
    const hasMore =
      filters.length > 0 || [maxAge, map, order, debounce, batch, rateLimit, reply].some((each) => each !== undefined);
    this.#isPlain = settings.function !== undefined && !hasMore;
    this.#map = map === undefined ? undefined : expression(map);
    this.#orderKey = order && expression(order.key);
    this.#replyKey = reply?.key === undefined ? undefined : expression(reply.key);
    this.#debounceKey = debounce && expression(debounce.key);
    this.#debouncer = debounce && new Debouncer(debounce, (item) => this.#gather(item));
    this.#batcher = batch && new Batcher(batch, ([first, ...others]) => first && this.#enter([first, ...others]));
    this.#bucket = rateLimit && new Bucket(rateLimit, parts.clock);
    const { metrics } = parts;
    this.#counters = {
      filtered: metrics.counter('filtered_total', 'Messages that passed no filter, and were acknowledged.'),
      unrouted: metrics.counter('unrouted_total', 'Messages whose topic no function wants, and were acknowledged.'),
      debounced: metrics.counter('debounced_total', 'Messages that a later one took the place of.'),
      batches: metrics.counter('batches_total', 'Batches that were run, halves of them too.'),
    };
  }

  /** The delivery that the connector emits. */
  deliveryOf(message: SourceMessage, settlement: Settlement): Delivery {
    const now = this.#takenAt ?? this.#takeNow();
    const headers = headersOfMessage(message, this.#origin, now);
    const { function: name = '', ack } = this.#settings;
    const mode = ack === 'enqueued' ? 'async' : 'sync';
    const request = this.#request(message, name, headers, mode, { takenAt: now });
    return new Delivery(this.#config.name, request, settlement, message);
  }

  /** What comes at one go, before any promise goes on, has one time: to look at the clock for each costs as much as a stage. */
  #takeNow(): number {
    queueMicrotask(this.#goneOn);
    return (this.#takenAt = this.#parts.clock.now());
  }

  /** Where what is to be run goes. */
  runs(out: (delivery: Delivery) => void): void {
    this.#out = out;
  }

  take(carrier: Delivery): void {
    const { message } = carrier;
    if (!message || (this.#isPlain && message.orderKey === undefined)) return this.#out(carrier);
    this.#tail = this.#tail.then(() => this.#prepare(carrier, message));
  }

  /** Nothing more comes: what waits for company is run now, what waits for another attempt goes back to its broker. */
  drain(): void {
    this.#stop.abort();
    // After what has come already.
    this.#tail = this.#tail.then(() => {
      this.#debouncer?.flush();
      this.#batcher?.flush();
    });
  }

  /** Never rejects: what goes wrong with a message is its own outcome. */
  async #prepare(carrier: Delivery, message: SourceMessage): Promise<void> {
    const { filters, maxAge } = this.#settings;
    const { headers } = carrier.request;
    const targets = this.#targets(message.topic);
    if (targets.length === 0) return this.#pass(carrier, this.#counters.unrouted);
    const event = eventOf(message, headers);
    const item: Item = {
      carrier,
      message,
      event,
      targets,
      orderKey: undefined,
      mapped: undefined,
      replyKey: undefined,
    };
    if (!filters.every((filter) => passes(filter, event))) return this.#pass(carrier, this.#counters.filtered);
    const now = this.#parts.clock.now();
    const ageMs = now - (message.at ?? carrier.request.takenAt ?? now);
    if (maxAge !== undefined && ageMs > maxAge) {
      const text = `the message was ${Math.round(ageMs)} ms old when it came; the limit is ${maxAge}`;
      return this.#bury(item, { code: 'message.expired', message: text });
    }
    try {
      const orderKey = this.#orderKey ? keyText(await this.#orderKey(event)) : message.orderKey;
      const mapped = await this.#map?.(event);
      if (this.#map && mapped === undefined) throw new Error('the map gave nothing');
      const ready = { ...item, orderKey, mapped, replyKey: keyText(await this.#replyKey?.(event)) };
      if (!this.#debouncer) return this.#gather(ready);
      const key = keyText(await this.#debounceKey?.(event)) ?? '';
      const superseded = this.#debouncer.add(key, ready);
      if (superseded) this.#pass(superseded.carrier, this.#counters.debounced);
    } catch (error) {
      this.#bury(item, { code: 'message.unmapped', message: `an expression failed: ${messageOf(error)}` });
    }
  }

  #gather(item: Item): void {
    if (!this.#batcher) return this.#enter([item]);
    const { targets, orderKey, message } = item;
    this.#batcher.add(JSON.stringify([targets, orderKey]), item, message.body.byteLength);
  }

  /** One at a time of an order key. */
  #enter(run: Run): void {
    const { orderKey } = run[0];
    if (orderKey === undefined) return void this.#run(run);
    const waiting = this.#lanes.get(orderKey);
    if (waiting) return void waiting.push(run);
    this.#lanes.set(orderKey, []);
    void this.#inTurn(this.#laneOf(orderKey, run));
  }

  /** What waits there by then, after the first one. */
  *#laneOf(orderKey: string, first: Run): Iterable<Run> {
    for (let run: Run | undefined = first; run; run = this.#lanes.get(orderKey)?.shift()) yield run;
    this.#lanes.delete(orderKey);
  }

  /** One after another; resolves with whether all of them have ended. */
  async #inTurn(runs: Iterable<Run>): Promise<boolean> {
    let isOver = true;
    for (const run of runs) {
      // Behind what goes back to its broker all of its key goes back: it would be run before that.
      if (isOver || run[0].orderKey === undefined) isOver = (await this.#run(run)) && isOver;
      else await this.#handBack(run);
    }
    return isOver;
  }

  /** Resolves when each message of it has been settled, with whether all of them have ended. Never rejects. */
  async #run(run: Run): Promise<boolean> {
    if (this.#bucket && !(await this.#bucket.take(this.#stop.signal))) return this.#handBack(run);
    const [first] = run;
    const isAsync = this.#settings.ack === 'enqueued' || first.targets.length > 1;
    if (run.length > 1 && !isAsync) return this.#runBatch(run);
    for (let { attempt } = first.message; ; attempt++) {
      const verdict = await this.#verdictOf(run, isAsync ? 'async' : 'sync', attempt);
      const isKept =
        verdict.kind === 'retry' && first.orderKey !== undefined && first.carrier.settlement.kind === 'settles';
      if (!isKept) {
        await this.#settleAll(run, verdict);
        return true;
      }
      if (!(await sleep(verdict.delayMs, this.#stop.signal))) return this.#handBack(run);
      if (!verdict.counted) attempt--;
    }
  }

  /** A batch that a function answers for: what fails is run again in halves, until a bad message is alone. */
  async #runBatch(run: Run): Promise<boolean> {
    const [first] = run;
    this.#counters.batches.inc();
    const verdict = await this.#dispatch(run, first.targets[0] ?? '', 'sync', first.message.attempt, 'replies');
    const outcome = 'outcome' in verdict ? verdict.outcome : undefined;
    if (!outcome || outcome.failure === 'cancelled') return this.#handBack(run);
    if (succeeded(outcome)) {
      const failures = this.#settings.batch?.reportItems ? failedItems(outcome, run.map(idOf)) : undefined;
      const parts = Map.groupBy(run, (item) => failures?.has(idOf(item)) === true);
      await Promise.all(parts.get(false)?.map(({ carrier }) => this.#settle(carrier, verdict)) ?? []);
      return this.#inTurn(parts.get(true)?.map((item): Run => [item]) ?? []);
    }
    // Where it has not seen them halves would fare no better.
    const { failure } = outcome;
    if (failure === 'refused' || failure === 'missing' || failure === 'overload') {
      return this.#inTurn(run.map((item) => [item]));
    }
    const middle = Math.ceil(run.length / 2);
    const halves = [run.slice(0, middle), run.slice(middle)];
    return this.#inTurn(halves.flatMap(([head, ...others]): Run[] => (head ? [[head, ...others]] : [])));
  }

  async #verdictOf(run: Run, mode: Mode, attempt: number): Promise<Verdict> {
    const { targets, carrier } = run[0];
    const { kind } = carrier.settlement;
    return joinedVerdict(await Promise.all(targets.map((target) => this.#dispatch(run, target, mode, attempt, kind))));
  }

  #dispatch(run: Run, target: string, mode: Mode, attempt: number, kind: Settlement['kind']): Promise<Verdict> {
    const [{ carrier, message, orderKey, mapped }] = run;
    const { promise, resolve } = Promise.withResolvers<Verdict>();
    const isBatch = run.length > 1 && kind === 'replies';
    const headers = { ...carrier.request.headers };
    let { body } = message;
    if (this.#settings.batch) {
      const content = run.map((item) => item.mapped ?? structured(item.event, item.message.body));
      body = Buffer.from(JSON.stringify(content));
      headers['content-type'] = mapped === undefined ? 'application/cloudevents-batch+json' : 'application/json';
      headers['x-batch-size'] = String(run.length);
    } else if (mapped !== undefined) {
      body = Buffer.from(JSON.stringify(mapped));
      headers['content-type'] = 'application/json';
    }
    const request = {
      ...this.#request(message, target, headers, mode, { body, attempt, orderKey, count: run.length }),
      replyTo: this.#replyTo(run[0], isBatch),
      joined: run.length > 1 ? run.map((item) => item.carrier.request.headers) : undefined,
      items: this.#settings.batch?.reportItems ? run.map(idOf) : undefined,
    };
    const settle = async (verdict: Verdict): Promise<void> => resolve(isBatch ? await wholeVerdict(verdict) : verdict);
    this.#out(new Delivery(carrier.source, request, { kind, settle }, message));
    return promise;
  }

  #request(
    message: SourceMessage,
    name: string,
    headers: DeliveryRequest['headers'],
    mode: Mode,
    { body = message.body, attempt = message.attempt, orderKey, count = 1, takenAt }: Content = asItCame,
  ): DeliveryRequest {
    const { kind, name: connector } = this.#config;
    // Where several functions are run, each has its own.
    const target = this.#settings.function === undefined ? name : undefined;
    return {
      function: name,
      method: 'POST',
      path: '',
      query: '',
      headers,
      body: body.byteLength === 0 ? null : body,
      mode,
      attempt: mode === 'async' ? 1 : attempt,
      takenAt,
      keepsOrder: mode === 'sync' && orderKey !== undefined,
      // Batches are not made alike again.
      options: count === 1 ? new Options(message, kind, connector, target, orderKey) : { orderKey },
    };
  }

  #replyTo({ replyKey }: Item, onlySuccess: boolean): ReplyTarget | undefined {
    const { reply } = this.#settings;
    if (!reply) return undefined;
    const { connection = this.#config.connection ?? '', to, structured } = reply;
    return { connection, to, key: replyKey, structured, onlySuccess };
  }

  /** Through the pipeline, which leaves it among the dead letters. */
  #bury({ carrier, message, targets: [target = ''] }: Item, refusal: Refusal): void {
    const settle = (verdict: Verdict): Promise<void> => this.#settle(carrier, verdict);
    const request = this.#request(message, target, carrier.request.headers, 'async');
    const delivery = new Delivery(carrier.source, request, { kind: carrier.settlement.kind, settle }, message);
    delivery.outcome = failed('refused', refusal, 0);
    this.#out(delivery);
  }

  /** Acknowledged without having been run. */
  #pass(carrier: Delivery, counter: { inc(): void }): void {
    counter.inc();
    void this.#settle(carrier, { kind: 'done', outcome: notRun, effects: [] });
  }

  /** Resolves with false: it has not ended. */
  async #handBack(run: Run): Promise<false> {
    await this.#settleAll(run, handedBack);
    return false;
  }

  async #settleAll(run: Run, verdict: Verdict): Promise<void> {
    await Promise.all(run.map(({ carrier }) => this.#settle(carrier, verdict)));
  }

  async #settle(carrier: Delivery, verdict: Verdict): Promise<void> {
    try {
      await carrier.settlement.settle(verdict, carrier);
    } catch (error) {
      this.#parts.settleFailed();
      this.#parts.logger.error({ err: error, source: carrier.source }, 'a settlement failed');
    }
    carrier.credit?.giveBack();
  }
}

/** What a request is made of, where that is not the message by itself. */
interface Content {
  readonly body?: Uint8Array;
  readonly attempt?: number;
  readonly orderKey?: string | undefined;
  /** Messages in it. */
  readonly count?: number;
  readonly takenAt?: number;
}

const asItCame: Content = {};
const notRun: Outcome = { status: 204, headers: {}, body: null, durationMs: 0, failure: undefined, error: undefined };
const stoppedOutcome = failed(
  'cancelled',
  { code: 'gateway.stopping', message: 'it was stopped before it was run' },
  0,
);
const handedBack: Verdict = { kind: 'retry', delayMs: 0, outcome: stoppedOutcome, counted: false };

/** Its key is made for whoever keeps the message: the text of it costs more than a stage. */
class Options implements DeliveryOptions {
  readonly orderKey: string | undefined;
  readonly #message: SourceMessage;
  readonly #kind: string;
  readonly #connector: string;
  readonly #target: string | undefined;

  constructor(
    message: SourceMessage,
    kind: string,
    connector: string,
    target: string | undefined,
    orderKey: string | undefined,
  ) {
    this.orderKey = orderKey;
    this.#message = message;
    this.#kind = kind;
    this.#connector = connector;
    this.#target = target;
  }

  /** Given again because its acknowledgement was lost, it is known in the queue. */
  get dedupKey(): string | undefined {
    const { dedupId } = this.#message;
    if (dedupId === undefined) return undefined;
    return `${this.#kind}:${this.#connector}:${dedupId}${this.#target === undefined ? '' : `:${this.#target}`}`;
  }
}

/** What the function knows it by. */
function idOf({ event, message }: Item): string {
  return event.id ?? message.id;
}

/** Numbers and texts are keys; nothing is no key. */
function keyText(value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined;
  return typeof value === 'string' ? value : JSON.stringify(value);
}
