import type { ListenAddress } from '../api/server.ts';
import type { ConnectionEnd } from '../api/caller-connections.ts';
import type { FunctionConfig, GatewayConfig, RootConfig } from '../config/schema.ts';
import type { RetryPolicy } from '../contracts/policy.ts';
import type { MillraceEvent } from '../observe/events.ts';
import type { MeterNews } from '../observe/meter.ts';

/** A plugin as it is told to another process, which finds the definition of that kind by itself. */
export interface FrontPlugin {
  readonly name: string;
  readonly kind: string;
  readonly config: unknown;
}

/** What a front goes by, apart from the functions. */
export interface FrontSettings {
  readonly gateway: GatewayConfig;
  readonly observability: RootConfig['observability'];
  readonly standardRetry: RetryPolicy;
  /** Undefined where no connector can answer in front. */
  readonly connector: FrontPlugin | undefined;
  readonly providers: readonly FrontPlugin[];
  readonly secrets: readonly string[];
}

/** Where a front is, said once when it begins. */
export interface FrontPlace {
  readonly number: number;
  /** The socket of the owner. */
  readonly within: string;
  readonly listensAt: readonly ListenAddress[];
  readonly baseFolder: string;
}

/** What fronts may answer. */
export interface FrontPlan {
  readonly settings: FrontSettings;
  readonly functions: ReadonlyMap<string, FunctionConfig>;
}

/** What the owner says to a front. */
export type ToFront =
  | { readonly kind: 'begin'; readonly place: FrontPlace; readonly settings: FrontSettings }
  /** Answer nothing yourself until `take`; said back as `held`. */
  | { readonly kind: 'hold'; readonly turn: number }
  /** Answer by this from now on; `settings` where they have changed. */
  | {
      readonly kind: 'take';
      readonly settings: FrontSettings | undefined;
      readonly put: readonly FunctionConfig[];
      readonly removed: readonly string[];
    }
  | { readonly kind: 'lent'; readonly name: string; readonly count: number }
  /** Slots of this function are wanted back, as soon as they are free. */
  | { readonly kind: 'recall'; readonly name: string }
  /** Whether somebody listens to events. */
  | { readonly kind: 'watched'; readonly isWatched: boolean }
  /** Say at once what has been counted. */
  | { readonly kind: 'tell'; readonly turn: number }
  | { readonly kind: 'leave' }
  | { readonly kind: 'close' };

/** What has been counted since it was told last. */
export interface FrontNews {
  readonly attempts: readonly MeterNews[];
  /** Calls that were taken to be answered here. */
  readonly answered: number;
  /** Of these and earlier ones, those that ended. */
  readonly settled: number;
  readonly passed: number;
  readonly ended: readonly ConnectionEnd[];
}

/** What a front says to the owner. */
export type ToOwner =
  | { readonly kind: 'listening' }
  | { readonly kind: 'held'; readonly turn: number }
  | { readonly kind: 'borrow'; readonly name: string; readonly count: number }
  | { readonly kind: 'returned'; readonly name: string; readonly count: number }
  /** `turn`: where it was asked for. */
  | { readonly kind: 'told'; readonly news: FrontNews; readonly turn: number | undefined }
  | { readonly kind: 'event'; readonly event: MillraceEvent }
  /** Every call has been answered. */
  | { readonly kind: 'closed' };
