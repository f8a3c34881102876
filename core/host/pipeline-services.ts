import type { Config } from '../config/schema.ts';
import type { PipelineServices } from '../pipeline/stage.ts';
import type { GatewayCallers } from './callers.ts';

/** Keeps the pipeline's dedup of `Idempotency-Key`, ms. */
const idempotencyWindowMs = 86_400_000;

/** What the stages are given as it is. */
type Given = Omit<
  PipelineServices,
  'authenticator' | 'emit' | 'functionAuth' | 'limits' | 'standardRetry' | 'waitingRoom'
>;

export interface PipelineParts extends Given {
  readonly callers: GatewayCallers;
  readonly events: { readonly emit: PipelineServices['emit'] };
  /** The one in force. */
  readonly config: () => Config;
}

/** What the stages need of a gateway, by the configuration that is in force when they ask. */
export function pipelineServices({ callers, config, events, ...given }: PipelineParts): PipelineServices {
  const { limits } = config().gateway;
  return {
    ...given,
    emit: events.emit,
    get standardRetry() {
      return config().standardRetry;
    },
    get functionAuth() {
      return callers.standardAuth;
    },
    get authenticator() {
      return callers.authenticator;
    },
    limits: {
      asyncBody: limits.asyncBody,
      resultBody: limits.body,
      waiting: limits.waiting,
      depth: limits.depth,
      dedupWindowMs: idempotencyWindowMs,
    },
    waitingRoom: { now: 0 },
  };
}
