import type { Logger } from 'pino';
import type { Clock } from '../../../core/contracts/clock.ts';
import type { Outcome } from '../../../core/contracts/invocation.ts';
import type { Call, FunctionStatus } from '../../../core/contracts/provider.ts';
import { failed } from '../../../core/kit/outcome.ts';
import type { Reaper } from './reaper.ts';
import type { FunctionSettings } from './settings.ts';

/** How the calls of one function are run. */
export interface Runner {
  readonly settings: FunctionSettings;
  /** How many replicas can be called now. */
  readonly available: number;
  /** Begins, once `after` has come: what it replaces has let go of its port. */
  start(after?: Promise<void>): void;
  invoke(call: Call): Promise<Outcome>;
  /** 0: nothing is kept running. Progress is told by `report`. */
  scale(replicas: number): void;
  /** Takes no more calls; resolves when those under way have ended, and with them every process. */
  close(): Promise<void>;
  /** Ends every process now. */
  kill(): void;
}

export type RunnerStatus = Omit<FunctionStatus, 'name'>;

/** What a runner is given by its provider. */
export interface RunnerOwner {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly reaper: Reaper;
  report(status: RunnerStatus): void;
  /** A line of the function, from the process `pid`. */
  log(pid: number | undefined, text: string, callId?: string): void;
}

/**
 * The answer of the watchdogs' limit `max_inflight`, word by word. It is the function's own answer and no refusal of the
 * gateway's, so that clients of OpenFaaS find what they look for.
 */
export function tooManyInflight(maxInflight: number): Outcome {
  return {
    status: 429,
    headers: { 'content-type': 'text/plain', 'x-openfaas-internal': 'faas-middleware' },
    body: `Concurrent request limit exceeded. Max concurrent requests: ${maxInflight}\n`,
    durationMs: 0,
    failure: undefined,
    error: { code: 'limit.waiting', message: `more than ${maxInflight} calls at once (max_inflight)` },
  };
}

/** What a caller is told whose call was aborted: at the deadline, or because nobody wants the answer any more. */
export function abortedOutcome({ name, message }: DOMException, durationMs: number): Outcome {
  return name === 'TimeoutError'
    ? failed(
        'timeout',
        { code: 'function.timeout', message: 'the function did not answer within its timeout' },
        durationMs,
      )
    : failed('cancelled', { code: 'invocation.cancelled', message }, durationMs);
}
