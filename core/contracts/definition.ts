import type { Logger } from 'pino';
import type { z } from 'zod';
import type { Clock } from './clock.ts';
import type { Connection } from './connection.ts';
import type { Connector } from './connector.ts';
import type { Deployment } from './deployment.ts';
import type { Delivery, Settlement } from './delivery.ts';
import type { AckMode, MessageTraits, SourceMessage } from './message.ts';
import type { FunctionSpec, FunctionStatus, Provider } from './provider.ts';
import type { CancelResult, MessageRecord, Queue, QueueCapabilities } from './queue.ts';
import type { Routes } from './route.ts';
import type { Store } from './store.ts';

export const pluginTypes = ['connection', 'connector', 'queue', 'store', 'provider'] as const;
export type PluginType = (typeof pluginTypes)[number];

/** What every plugin instance is given. Each instance has its own. */
export interface PluginHost {
  /** The instance's name in the configuration. */
  readonly name: string;
  readonly logger: Logger;
  readonly clock: Clock;
  readonly metrics: PluginMetrics;
  /** Aborts when the instance is to stop. */
  readonly signal: AbortSignal;
  /** Folder of the configuration file: relative paths are meant from there. */
  readonly baseFolder: string;
  /** Says that the instance cannot go on: it is marked failed in /readyz, and the host lives. */
  fail(error: unknown): void;
  /**
   * The connection that the instance's `connection` setting names, started, of the kind that the definition asks for.
   * Throws when the definition asks for none.
   */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the kind was checked with the configuration.
  connection<Kind extends Connection>(): Kind;
}

/** Counters and gauges, named `millrace_<kind>_<name>` and labelled with the instance. */
export interface PluginMetrics {
  counter(name: string, help: string): { inc(by?: number): void };
  gauge(name: string, help: string): { set(value: number): void };
}

export interface ConnectorHost extends PluginHost {
  /** The connector's routes on the public listener: add them in `start`. */
  readonly http: Routes;
  readonly invocations: Invocations;
  /** Bytes: of any body, and of one that goes through a queue. */
  readonly limits: { readonly body: number; readonly asyncBody: number };
  /** What the gateway calls itself: `millrace/<version>`. */
  readonly product: string;
  /** What is deployed, for connectors that go by annotations. */
  readonly functions: DeployedFunctions;
  /** The store of that name, or the default one. */
  store(name?: string): Store;
  /**
   * The delivery of a message, for connectors whose definition has `messages`: the function, the headers that it sees and
   * when the broker is told are what the configuration says. Emit it with a credit, like any other.
   */
  message(message: SourceMessage, settlement: Settlement): Delivery;
}

export interface DeployedFunctions {
  list(): readonly FunctionSpec[];
  /** Calls `listener` whenever one comes, goes or changes; returns what ends that. */
  onChange(listener: () => void): () => void;
}

/** What has been accepted, on whichever queue it is. */
export interface Invocations {
  find(id: string): Promise<MessageRecord | undefined>;
  /** Waits until it is final; undefined after `waitMs`, or when the signal aborts. */
  finished(id: string, waitMs: number, signal?: AbortSignal): Promise<MessageRecord | undefined>;
  cancel(id: string): Promise<CancelResult>;
}

export type ConnectionHost = PluginHost;
export type QueueHost = PluginHost;
export type StoreHost = PluginHost;

export interface ProviderHost extends PluginHost {
  /** Where the state of functions is told. */
  report(status: FunctionStatus): void;
  /** A line that a function wrote. */
  functionLog(line: { function: string; instance: string; text: string; callId?: string | undefined }): void;
}

/** One kind of thing that `millrace check` warns of. */
export interface LintRule {
  /** One sentence: what it has found. */
  readonly summary: string;
  /** What comes of it, and what to do. */
  readonly why: string;
}

/** Settings of a connector that are right and yet seldom meant. */
export interface ConnectorLint<Config> {
  /** By code, which begins with the kind: `mqtt-qos-0`. */
  readonly rules: Readonly<Record<string, LintRule>>;
  check(config: Config, about: LintContext): Iterable<LintFinding>;
}

export interface LintContext {
  readonly ack: AckMode;
  /** Of the functions that it runs, as far as they are known. */
  readonly longestTimeoutMs: number;
}

export interface LintFinding {
  /** Keys from the connector's own settings on. */
  readonly path: readonly (string | number)[];
  readonly code: string;
  readonly message: string;
}

interface DefinitionBase<Type extends PluginType, Schema extends z.ZodType> {
  readonly type: Type;
  /** The word in the YAML. */
  readonly kind: string;
  /** One sentence: what it is for. */
  readonly summary: string;
  /** Validation, defaults, documentation and editor completion all come from it. Strict objects only. */
  readonly config: Schema;
  /** Each must parse; they are shown in the documentation. */
  readonly examples: readonly z.input<Schema>[];
  /**
   * The kind of connection that it works over. Its settings then have a key `connection`, a name of the configuration's
   * `connections`; `millrace check` tells when that is missing or of another kind.
   */
  readonly connection?: string | undefined;
  /**
   * Packages that it loads when it starts and that Millrace does not bring; `millrace check` tells when one is not installed,
   * or in another version than the `peerDependencies` of Millrace say.
   */
  readonly packages?: readonly string[] | undefined;
}

export interface ConnectionDefinition<Schema extends z.ZodType = z.ZodType> extends DefinitionBase<
  'connection',
  Schema
> {
  /** Outcomes can be published over it. */
  readonly publishes?: boolean | undefined;
  /** No I/O here: it starts in `start`. */
  create(config: z.output<Schema>, host: ConnectionHost): Connection;
}

export interface ConnectorDefinition<Schema extends z.ZodType = z.ZodType> extends DefinitionBase<'connector', Schema> {
  /** It brings messages of a broker: `function`, `ack` and all else about them are keys of core's, and not in `config`. */
  readonly messages?: MessageTraits | undefined;
  /** What it is to its broker: two connectors that are the same consumer get in each other's way. */
  consumer?(config: z.output<Schema>): string | undefined;
  /** The patterns of topics that it takes, as far as they stand in the configuration. */
  topics?(config: z.output<Schema>): readonly string[];
  readonly lint?: ConnectorLint<z.output<Schema>> | undefined;
  /**
   * Only where it answers `/function/NAME`: its settings for the other processes of a gateway that has several, which answer
   * nothing else of it.
   */
  inFront?(config: z.output<Schema>): z.output<Schema> | undefined;
  /** No I/O here: it starts in `start`. */
  create(config: z.output<Schema>, host: ConnectorHost): Connector;
}

export interface QueueDefinition<Schema extends z.ZodType = z.ZodType> extends DefinitionBase<'queue', Schema> {
  readonly capabilities: QueueCapabilities;
  create(config: z.output<Schema>, host: QueueHost): Queue;
}

export interface StoreDefinition<Schema extends z.ZodType = z.ZodType> extends DefinitionBase<'store', Schema> {
  create(config: z.output<Schema>, host: StoreHost): Store;
}

export interface ProviderDefinition<
  Schema extends z.ZodType = z.ZodType,
  FunctionSchema extends z.ZodObject = z.ZodObject,
> extends DefinitionBase<'provider', Schema> {
  /** The provider's own keys of a function in the YAML (`module`, `command`, `url`, …). */
  readonly functionConfig: FunctionSchema;
  /** It can be told how many replicas a function has; `cpu`: and knows what they use. */
  readonly scaling?: { readonly cpu: boolean } | undefined;
  /**
   * Whether each process of a gateway can run that function by itself, as if there were no others: nothing of it is counted,
   * shared out or kept by the provider.
   */
  inFront?(config: z.output<FunctionSchema>): boolean;
  /** It can take what is deployed through the API: its own keys of such a function. */
  deployment?(deployment: Deployment): z.input<FunctionSchema>;
  create(config: z.output<Schema>, host: ProviderHost): Provider;
}

export type PluginDefinition =
  | ConnectionDefinition
  | ConnectorDefinition
  | QueueDefinition
  | StoreDefinition
  | ProviderDefinition;

// `define*` infer the types of `config` for `create`, then forget them: a registry holds definitions of every schema.
export function defineConnection<Schema extends z.ZodType>(
  definition: Omit<ConnectionDefinition<Schema>, 'type'>,
): ConnectionDefinition {
  return { ...definition, type: 'connection' } as unknown as ConnectionDefinition;
}
export function defineConnector<Schema extends z.ZodType>(
  definition: Omit<ConnectorDefinition<Schema>, 'type'>,
): ConnectorDefinition {
  return { ...definition, type: 'connector' } as unknown as ConnectorDefinition;
}
export function defineQueue<Schema extends z.ZodType>(
  definition: Omit<QueueDefinition<Schema>, 'type'>,
): QueueDefinition {
  return { ...definition, type: 'queue' } as unknown as QueueDefinition;
}
export function defineStore<Schema extends z.ZodType>(
  definition: Omit<StoreDefinition<Schema>, 'type'>,
): StoreDefinition {
  return { ...definition, type: 'store' } as unknown as StoreDefinition;
}
export function defineProvider<Schema extends z.ZodType, FunctionSchema extends z.ZodObject>(
  definition: Omit<ProviderDefinition<Schema, FunctionSchema>, 'type'>,
): ProviderDefinition {
  return { ...definition, type: 'provider' } as unknown as ProviderDefinition;
}
