import type { Observable } from 'rxjs';
import type { Delivery } from './delivery.ts';

/**
 * How many unsettled deliveries a source may still have. Take one before emitting a delivery; the pipeline gives it
 * back when the delivery has been settled. A broker's prefetch is set from `limit`.
 */
export interface Credit {
  readonly limit: number;
  readonly outstanding: number;
  /** Takes one if there is one. */
  tryTake(): boolean;
  /** Resolves with true once one has been taken, with false if the signal aborts first. */
  take(signal: AbortSignal): Promise<boolean>;
  /** For a credit that was taken and not used. */
  giveBack(): void;
}

export interface ConnectorHealth {
  readonly state: 'running' | 'reconnecting' | 'stopped';
  /** Messages that wait at the source, where it can tell. */
  readonly lag?: number | undefined;
  readonly lastError?: string | undefined;
  readonly reconnects: number;
}

/** An invocation that somebody asked a connector for. */
export interface Triggered {
  readonly id: string;
  /** It had been accepted before, and does not run again. */
  readonly duplicate: boolean;
  /** Wall clock, ms: the time that it stands for. */
  readonly at: number;
}

/** A source of deliveries. */
export interface Connector {
  /**
   * Opens what it needs. Routes of HTTP connectors are added here. Where it rejects it leaves nothing open: one that works over a
   * connection is made and started anew for a minute, unless that was an error of Millrace without `retryAfterSeconds`.
   */
  start(): Promise<void>;
  /**
   * Subscribed once, by the host. Every emitted delivery has had its credit taken. Unsubscribing means: take nothing
   * more; what was emitted is still settled. An error means that the connector is broken: it is marked failed.
   */
  deliveries(credit: Credit): Observable<Delivery>;
  health(): ConnectorHealth;
  /**
   * For `millrace check --connect`, instead of everything else: compares what the configuration asks for with what is there,
   * and makes, changes and takes nothing. Resolves with what a start would make (`the group workers`); rejects as `start`
   * does where that would not work.
   */
  check?(): Promise<readonly string[]>;
  /**
   * Only connectors that go by a clock: gives a delivery now, whatever the schedule says; or one for each time at which
   * the schedule would have from `from` to `to` (wall clock, ms, both included), once however often it is asked. Resolves
   * when all are accepted; rejects with the refusal of the first one that is not.
   */
  trigger?(slots?: { readonly from: number; readonly to: number }): Promise<readonly Triggered[]>;
  /** Called after the last delivery has been settled, or the drain deadline has passed. */
  stop(deadlineMs: number): Promise<void>;
}
