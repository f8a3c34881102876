import { AnnotatedCron } from '../../connectors/cron/annotated.ts';
import { cronConfig, isSlotConfig } from '../../connectors/cron/config.ts';
import { CronConnector, type Sleep } from '../../connectors/cron/connector.ts';
import type { ConnectorHost } from '../../core/contracts/definition.ts';
import type { Delivery, Verdict } from '../../core/contracts/delivery.ts';
import type { InvocationState } from '../../core/contracts/invocation.ts';
import type { FunctionSpec } from '../../core/contracts/provider.ts';
import type { MessageRecord } from '../../core/contracts/queue.ts';
import type { Store } from '../../core/contracts/store.ts';
import { CreditPool } from '../../core/delivery/credit.ts';
import { MemoryStore } from '../../plugins/stores/memory/index.ts';
import { quietHost } from './quiet-host.ts';

export interface Fire {
  readonly id: string;
  readonly slot: string;
  readonly at: number;
  readonly delivery: Delivery;
}

export interface Replica {
  readonly connector: CronConnector | AnnotatedCron;
  readonly counts: Record<string, number>;
  /** The process is gone: nothing it waits for ever comes. */
  kill(): void;
  stop(): Promise<void>;
}

interface Sleeper {
  readonly at: number;
  readonly wake: (elapsed: boolean) => void;
}

/** One queue, one store and one time for any number of cron connectors; time passes only in `until`. */
export class CronWorld {
  now: number;
  readonly store: Store;
  /** What would run: one for each dedup key. */
  readonly fires: Fire[] = [];
  readonly states = new Map<string, InvocationState>();
  readonly cancelled: string[] = [];
  /** What is deployed. */
  readonly functions: FunctionSpec[] = [];
  duplicates = 0;
  /** Gives a verdict instead of accepting. */
  refuse: (delivery: Delivery) => Verdict | undefined = () => undefined;
  /** Called after an enqueue, before the connector is told of it. */
  onEnqueued: (replica: Replica) => void = () => {};
  readonly #ids = new Map<string, string>();
  readonly #sleepers = new Set<Sleeper>();
  readonly #listeners = new Set<() => void>();

  constructor(start: string) {
    this.now = Date.parse(start);
    this.store = new MemoryStore({ now: () => this.now, monotonic: () => this.now });
    void this.store.start();
  }

  /** Puts functions with these annotations in the place of all that were there. */
  deploy(annotations: Readonly<Record<string, Record<string, string>>>): void {
    const specs = Object.entries(annotations).map(([name, each]) => ({
      name,
      provider: 'p',
      config: {},
      env: {},
      labels: {},
      annotations: each,
    }));
    this.functions.splice(0, Infinity, ...specs);
    for (const listener of this.#listeners) listener();
  }

  /** Starts a connector whose clock is `skewMs` off. */
  async replica(input: object, skewMs = 0): Promise<Replica> {
    const config = cronConfig.parse('annotation' in input ? input : { function: 'f', ...input });
    const clock = { now: () => this.now + skewMs, monotonic: () => this.now };
    let alive = true;
    const counts: Record<string, number> = {};
    const never = new Promise<never>(() => {});
    const whileAlive = async <T>(work: () => Promise<T>): Promise<T> => {
      if (!alive) return never;
      const result = await work();
      return alive ? result : never;
    };
    const { store } = this;
    const host: ConnectorHost = {
      ...quietHost(clock),
      name: 'nightly',
      metrics: {
        counter: (name) => ({
          inc: (by = 1) => {
            counts[name] = (counts[name] ?? 0) + by;
          },
        }),
        gauge: () => ({ set: () => {} }),
      },
      http: { add: () => {} },
      limits: { body: 1e6, asyncBody: 1e6 },
      product: 'millrace/test',
      invocations: {
        find: async (id) => {
          const state = this.states.get(id);
          return state && ({ id, state } as MessageRecord);
        },
        finished: () => never,
        cancel: async (id) => {
          this.cancelled.push(id);
          this.states.set(id, 'cancelled');
          return 'cancelled';
        },
      },
      functions: {
        list: () => this.functions,
        onChange: (listener) => {
          this.#listeners.add(listener);
          return () => this.#listeners.delete(listener);
        },
      },
      message: () => {
        throw new Error('cron has no messages');
      },
      store: () => ({
        ...store,
        start: () => store.start(),
        get: (key) => whileAlive(() => store.get(key)),
        put: (key, value, options) => whileAlive(() => store.put(key, value, options)),
        delete: (key) => whileAlive(() => store.delete(key)),
        list: (prefix, limit, after) => whileAlive(() => store.list(prefix, limit, after)),
        stop: (deadlineMs) => store.stop(deadlineMs),
      }),
    };
    const sleep: Sleep = (delayMs, signal) =>
      new Promise((resolve) => {
        if (signal.aborted) return resolve(false);
        const wake = (elapsed: boolean): void => {
          this.#sleepers.delete(sleeper);
          if (alive) resolve(elapsed);
        };
        const sleeper: Sleeper = { at: this.now + delayMs, wake };
        this.#sleepers.add(sleeper);
        signal.addEventListener('abort', () => wake(false), { once: true });
      });
    const connector = isSlotConfig(config)
      ? new CronConnector(config, host, { sleep })
      : new AnnotatedCron(config, host, sleep);
    const credit = new CreditPool(1);
    await connector.start();
    const kill = (): void => {
      alive = false;
    };
    const replica: Replica = { connector, counts, kill, stop: () => connector.stop(1000) };
    const subscription = connector.deliveries(credit).subscribe((delivery) => {
      const verdict = this.refuse(delivery) ?? this.#accept(delivery);
      if (verdict.kind === 'accepted') this.onEnqueued(replica);
      if (!alive) return;
      void delivery.settlement.settle(verdict, delivery);
      credit.giveBack();
    });
    return {
      ...replica,
      stop: () => {
        subscription.unsubscribe();
        return connector.stop(1000);
      },
    };
  }

  /** Lets time pass, from one thing that waits to the next. */
  async until(end: string): Promise<void> {
    const endMs = Date.parse(end);
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      let first: Sleeper | undefined;
      for (const sleeper of this.#sleepers) if (!first || sleeper.at < first.at) first = sleeper;
      if (!first || first.at > endMs) break;
      this.now = Math.max(this.now, first.at);
      first.wake(true);
    }
    this.now = Math.max(this.now, endMs);
  }

  /** Moves the wall clock without any time passing. */
  jump(to: string): void {
    const by = Date.parse(to) - this.now;
    this.now += by;
    const moved = [...this.#sleepers];
    this.#sleepers.clear();
    for (const { at, wake } of moved) {
      const sleeper: Sleeper = {
        at: at + by,
        wake: (elapsed) => {
          this.#sleepers.delete(sleeper);
          wake(elapsed);
        },
      };
      this.#sleepers.add(sleeper);
    }
  }

  get slots(): string[] {
    return this.fires.map(({ slot }) => slot);
  }

  #accept(delivery: Delivery): Verdict {
    const key = delivery.request.options?.dedupKey ?? '';
    const known = this.#ids.get(key);
    const id = known ?? `id-${this.#ids.size + 1}`;
    if (known === undefined) {
      this.#ids.set(key, id);
      this.states.set(id, 'queued');
      this.fires.push({ id, slot: key.replace('cron:nightly:', ''), at: this.now, delivery });
    } else {
      this.duplicates++;
    }
    const duplicate = known !== undefined;
    return { kind: 'accepted', accepted: { id, callId: id, duplicate, durability: 'memory' } };
  }
}
