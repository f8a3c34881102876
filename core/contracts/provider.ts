import type { Deployment, DeploymentKeeper, FunctionSecrets } from './deployment.ts';
import type { Invocation, Outcome } from './invocation.ts';
import type { FunctionPolicy } from './policy.ts';

/** The namespace of Millrace's own functions. Nobody outside can name them. */
export const systemNamespace = 'millrace';

/** Whether the full name is of one of Millrace's own functions. */
export function isOwnFunction(name: string): boolean {
  return name.endsWith(`.${systemNamespace}`);
}

/** `cold`: deployed, no replica runs. `failed`: it cannot run until it is deployed again (the reason is in `message`). */
export type FunctionState = 'ready' | 'cold' | 'scaling' | 'paused' | 'failed';

/** What a function is, as the configuration or the API gave it. `config` is the provider's own part, parsed by its schema. */
export interface FunctionSpec<FunctionConfig = unknown> {
  /** `name.namespace` */
  readonly name: string;
  readonly provider: string;
  readonly config: FunctionConfig;
  readonly env: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** What was asked for, if it was deployed through the API or found where it is kept; `createdAt`: wall clock, ms. */
  readonly deployment?: (Deployment & { readonly createdAt: number }) | undefined;
}

/** What a provider tells the catalog about one of its functions, each time it changes. */
export interface FunctionStatus {
  readonly name: string;
  readonly state: FunctionState;
  readonly replicas: number;
  readonly availableReplicas: number;
  /** How many attempts it can run at once at most. */
  readonly capacity: number;
  readonly message?: string | undefined;
  /** Who else decides how many replicas it has, as `HorizontalPodAutoscaler resize`. */
  readonly scaledBy?: string | undefined;
}

/** A function as the pipeline sees it: one Map look-up away. */
export interface FunctionEntry {
  readonly name: string;
  readonly provider: Provider;
  readonly providerName: string;
  readonly spec: FunctionSpec;
  readonly policy: FunctionPolicy;
  readonly status: FunctionStatus;
}

/** Who wants to know that an attempt has been aborted. */
export interface CallWatcher {
  /** Called once. `reason.name` is `TimeoutError` at the deadline, `AbortError` otherwise. */
  aborted(reason: DOMException): void;
}

/** One attempt, as a provider gets it. */
export interface Call {
  readonly invocation: Invocation;
  /** Monotonic ms: when it began. */
  readonly startedAt: number;
  /** Monotonic ms. The attempt is void after it. */
  readonly deadline: number;
  /**
   * Aborts at the deadline, when the caller has gone, or when the invocation is cancelled. The provider must then end
   * the attempt: the pipeline answers without waiting for it.
   */
  readonly signal: AbortSignal;
  /**
   * The same as a listener of `signal`, without one: most calls are never aborted, and a signal costs more than the
   * stages. The provider's own, so there is one at most; it is told at once if the call has been aborted already.
   */
  watch(watcher: CallWatcher): void;
}

/** One row of `/system/queues` for work that waits inside a provider. */
export interface WorkQueueStats {
  readonly name: string;
  readonly waiting: number;
  readonly running: number;
  readonly oldestAgeMs: number;
}

/**
 * Knows functions and runs them. Checked by `providerContract`.
 * It reports every change of a function by `host.functions.report(status)`.
 */
export interface Provider {
  start(): Promise<void>;
  /**
   * Makes a function runnable, or replaces it. Rejects with a clear message when the spec cannot work. What the provider
   * has found by itself (`deployments`) is there already: it only gets calls from now on.
   */
  deploy(spec: FunctionSpec): Promise<void>;
  /** Attempts under way may finish. What was found, and not made by `deploy`, stays where it is. */
  remove(name: string): Promise<void>;
  /**
   * Runs one attempt. An answer of the function, whatever its status, is an Outcome without `failure`; a crash, an
   * error, a timeout is an Outcome with it. Rejects only on a bug of the provider's own.
   */
  invoke(entry: FunctionEntry, call: Call): Promise<Outcome>;
  /** Asks for replicas; progress is reported by status. Absent: the provider scales by itself. */
  scale?(name: string, replicas: number): Promise<void>;
  /** CPU that the replicas of a function have used since it was deployed, ms; undefined where that is not known. */
  cpuMs?(name: string): number | undefined;
  /** Functions that it keeps by itself, for whoever made them. Which there are is known once it has started. */
  readonly deployments?: DeploymentKeeper | undefined;
  /** Secrets of functions, where clients may keep them. */
  readonly secrets?: FunctionSecrets | undefined;
  workQueues?(): readonly WorkQueueStats[];
  stop(deadlineMs: number): Promise<void>;
}
