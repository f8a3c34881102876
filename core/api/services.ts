import type { Observable } from 'rxjs';
import type { Principal } from '../auth/principal.ts';
import type { Triggered } from '../contracts/connector.ts';
import type { Invocations } from '../contracts/definition.ts';
import type { DeploymentKeeper, FunctionSecrets } from '../contracts/deployment.ts';
import type { FunctionAuth } from '../contracts/policy.ts';
import type { FunctionEntry, WorkQueueStats } from '../contracts/provider.ts';
import type { Queue } from '../contracts/queue.ts';
import type { FunctionLogs } from '../functions/logs.ts';
import type { Problem } from '../config/problem.ts';
import type { Load } from '../functions/scaler.ts';
import type { MillraceEvent } from '../observe/events.ts';
import type { Attempts } from '../observe/meter.ts';
import type { SeenFilter, SeenInvocation } from '../observe/recent-invocations.ts';

/** Calls that wait in the gateway for a slot of their function, and those that have one. */
export interface WaitingRoomStats {
  readonly function: string;
  readonly waiting: number;
  readonly running: number;
  readonly oldestAgeMs: number;
}

/** A connector as `/system/connectors` shows it. */
export interface ConnectorStats {
  readonly name: string;
  readonly kind: string;
  readonly state: string;
  readonly inFlight: number;
  readonly credit: number;
  readonly lag?: number | undefined;
  readonly lastError?: string | undefined;
  readonly reconnects: number;
  readonly settled: number;
}

/** A connection as `/system/connections` shows it. */
export interface ConnectionStats {
  readonly name: string;
  readonly kind: string;
  readonly state: string;
  readonly reconnects: number;
  readonly lastError?: string | undefined;
}

/** Who callers are, and what functions ask of them. */
export interface Callers {
  /** As `Authenticator.principal`. */
  principal(authorization: string | undefined, place: string): Promise<Principal | undefined>;
  /** Who may call the function of that full name; of one that is not there any more, whoever could call some. */
  functionAuth(lane: string): FunctionAuth;
}

/** What the API does with a queue. */
export type ManagedQueue = Pick<Queue, 'durability' | 'lanes' | 'pause' | 'resume' | 'deadLetters'>;

export interface Readiness {
  readonly ready: boolean;
  /** Queues that take nothing new for now. */
  readonly draining: readonly { readonly name: string; readonly kind: string; readonly reason: string }[];
  readonly failed: readonly { readonly name: string; readonly kind: string; readonly error: string }[];
}

/** Functions and namespaces that are made through the API. `deploy` resolves once it is kept and its provider has taken it. */
export type DeploymentServices = Omit<DeploymentKeeper, 'functions' | 'onChange'>;

/** All that the management API needs of the gateway. The host implements it. */
export interface ManagementServices {
  /** By instance name. */
  readonly queues: ReadonlyMap<string, ManagedQueue>;
  /** `cancel` also aborts a run in this process. */
  readonly invocations: Invocations;
  readonly catalog: { list(): readonly FunctionEntry[]; get(name: string): FunctionEntry | undefined };
  readonly deployments: DeploymentServices;
  readonly logs: Pick<FunctionLogs, 'lines' | 'follow'>;
  readonly events: Observable<MillraceEvent>;
  readonly callers: Callers;
  /** The namespace of functions that are named without one. */
  readonly namespace: string;
  /** Of the provider that takes deployments; undefined where there is none, or it keeps none. */
  secrets(): FunctionSecrets | undefined;
  /** Resolves once the provider has been told; rejects with `request.conflict` where it has no replicas. */
  scale(name: string, replicas: number): Promise<void>;
  /** What AlertManager says of a function: it needs more replicas, or no more than the least. */
  alert(name: string, firing: boolean): Promise<void>;
  /** What a function has to bear now. */
  load(name: string): Promise<Load>;
  waitingRooms(): readonly WaitingRoomStats[];
  workQueues(): readonly (WorkQueueStats & { readonly provider: string })[];
  connections(): readonly ConnectionStats[];
  connectors(): readonly ConnectorStats[];
  /** As the connector's own; rejects with `connector.unknown`, or `request.conflict` where it goes by no clock. */
  trigger(connector: string, slots?: { readonly from: number; readonly to: number }): Promise<readonly Triggered[]>;
  /** A new invocation id (a ULID). */
  nextId(): string;
  isReady(): Readiness;
  /** Attempts of a function since the gateway started; absent where nobody counts. */
  invocationCount?(name: string): number;
  /** What came of them; undefined of a function that has had none. */
  attempts(name: string): Attempts | undefined;
  /** Queued invocations that this gateway has seen lately, newest first. */
  recent(filter: SeenFilter): readonly SeenInvocation[];
  /** What is in force, without its secrets, and what the lint says of it; undefined for who may not see all of it. */
  configuration(): { readonly configuration: unknown; readonly findings: readonly Problem[] } | undefined;
}
