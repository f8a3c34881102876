import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import { type Registry, Gauge } from '../observe/prometheus.ts';
import type { Logger } from 'pino';
import { type Clock, within } from '../contracts/clock.ts';
import type { Connection } from '../contracts/connection.ts';
import type { PluginHost, PluginMetrics, PluginType } from '../contracts/definition.ts';
import { messageOf, MillraceError } from '../contracts/errors.ts';
import { PlainCounter } from '../observe/plain-counter.ts';
import { createContainer, provide, token, type DependencyContainer } from './container.ts';

/** What the process shares with every plugin instance. */
export interface SharedParts {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly registry: Registry;
  readonly baseFolder: string;
  /** Called once when an instance is marked failed. */
  readonly onFailure: (instance: PluginInstance, error: unknown) => void;
}

export type InstanceState = 'created' | 'running' | 'failed' | 'stopped';

export const pluginHostToken = token<PluginHost>('PluginHost');

const current = new AsyncLocalStorage<PluginInstance>();

/** Whose code it was that threw where nobody could catch it, as far as the async context tells. */
export function blamed(): PluginInstance | undefined {
  return current.getStore();
}

/**
 * One configured plugin: its state, its scope (a child container) and the fence around its code. What it throws, at
 * once or later, marks it failed; it never ends the process.
 */
export class PluginInstance {
  readonly type: PluginType;
  readonly kind: string;
  readonly name: string;
  readonly container: DependencyContainer;
  state: InstanceState = 'created';
  error: string | undefined;
  readonly #shared: SharedParts;
  readonly #connection: () => Connection;
  readonly #stop = new AbortController();
  /** Made once: entering the context anew for each call would make a Map for each. Of a snapshot a call costs six times as much. */
  readonly #context = current.run(this, () => new AsyncResource('PluginInstance'));

  /** `connection`: finds the one that the instance works over; unset where its definition asks for none. */
  constructor(
    type: PluginType,
    kind: string,
    name: string,
    shared: SharedParts,
    connection: () => Connection = withoutConnection,
  ) {
    this.type = type;
    this.kind = kind;
    this.name = name;
    this.#shared = shared;
    this.#connection = connection;
    this.container = createContainer();
    provide(this.container, pluginHostToken, () => this.#host());
  }

  get host(): PluginHost {
    return this.container.resolve(pluginHostToken);
  }

  /** Its definition asks for a connection. */
  get isOverConnection(): boolean {
    return this.#connection !== withoutConnection;
  }

  fail(error: unknown): void {
    if (this.state === 'failed') return;
    this.state = 'failed';
    this.error = messageOf(error);
    this.#stop.abort();
    this.#shared.onFailure(this, error);
  }

  /** Its start has ended well; what went wrong beside it meanwhile stays told. */
  started(): void {
    if (this.state === 'created') this.state = 'running';
  }

  /** Tells it to give up whatever it waits for. */
  abort(): void {
    this.#stop.abort();
  }

  /** Runs the plugin's code so that what it throws outside of any promise is known to be its own. */
  within<T>(run: () => T): T {
    return this.#context.runInAsyncScope(run);
  }

  /** Runs a step of its life; a failure is marked, not thrown. Returns whether it went well. */
  async step(run: () => void | Promise<void>): Promise<boolean> {
    try {
      await this.within(run);
      return true;
    } catch (error) {
      this.fail(error);
      return false;
    }
  }

  /** Asks the plugin something; undefined, and marked failed, if it throws. */
  attempt<T>(ask: () => T): T | undefined {
    try {
      return this.within(ask);
    } catch (error) {
      this.fail(error);
      return undefined;
    }
  }

  /** Tells the plugin to stop, and waits for it no longer than the deadline. */
  async stop(run: (deadlineMs: number) => Promise<void>, deadlineMs: number): Promise<void> {
    this.#stop.abort();
    const stopped = this.step(() => run(deadlineMs));
    if (!(await within(stopped, deadlineMs + 1000))) {
      this.#shared.logger.warn({ plugin: this.name, type: this.type }, 'a plugin did not stop in time');
    }
    if (this.state !== 'failed') this.state = 'stopped';
  }

  #host(): PluginHost {
    const { logger, clock, baseFolder } = this.#shared;
    return {
      name: this.name,
      logger: logger.child({ [this.type]: this.name }),
      clock,
      metrics: this.#metrics(),
      signal: this.#stop.signal,
      baseFolder,
      fail: (error) => this.fail(error),
      // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the kind was checked with the configuration.
      connection: <Kind extends Connection>() => this.#connection() as Kind,
    };
  }

  #metrics(): PluginMetrics {
    const { registry } = this.#shared;
    const { kind, name: instance, type } = this;
    const fullName = (name: string): string => `millrace_${kind.replaceAll('-', '_')}_${name}`;
    // Two instances of a kind share a metric and differ in its label.
    return {
      counter(name, help) {
        const known = registry.getSingleMetric(fullName(name)) as PlainCounter | undefined;
        return (known ?? new PlainCounter(fullName(name), help, type, registry)).of(instance);
      },
      gauge(name, help) {
        const known = registry.getSingleMetric(fullName(name)) as Gauge | undefined;
        const gauge = known ?? new Gauge({ name: fullName(name), help, labelNames: [type], registers: [registry] });
        return gauge.labels(instance);
      },
    };
  }
}

/** Gauges of an instance that has gone would show its last values for ever. */
export function forgetGauges(registry: Registry, type: PluginType, name: string): void {
  for (const metric of registry.getMetricsAsArray()) {
    // Those of plugins have one label, which is the type.
    if (metric instanceof Gauge && isOf(metric, type)) metric.remove(name);
  }
}

function isOf(metric: Gauge, type: PluginType): boolean {
  const { labelNames } = metric as unknown as { readonly labelNames: readonly string[] };
  return labelNames.length === 1 && labelNames[0] === type;
}

function withoutConnection(): never {
  throw new MillraceError('internal', 'asked for a connection, and its definition has no "connection"');
}
