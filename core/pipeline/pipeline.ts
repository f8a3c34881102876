import { EMPTY, mergeMap, type OperatorFunction } from 'rxjs';
import type { Delivery, Settled } from '../contracts/delivery.ts';
import { messageOf } from '../contracts/errors.ts';
import { analyze } from './analyze.ts';
import { decide } from './decide.ts';
import { execute } from './execute.ts';
import { lookup } from './lookup.ts';
import { respond } from './respond.ts';
import { failed, type PipelineServices, type Stage } from './stage.ts';

/**
 * The one way through: analyze → lookup → decide → execute → respond, for every delivery of every source. Subscribed
 * once, over all sources merged. One `mergeMap` around plain functions, because an operator for each stage would cost
 * five times as much; without a limit of its own, because sources are bounded by their credit and `mergeMap` would
 * buffer without one.
 */
export function pipeline(services: PipelineServices): OperatorFunction<Delivery, Settled> {
  const settle = respond(services);
  const pass = through([analyze(services), lookup(services), decide(services), execute(services)], services);

  return mergeMap((delivery) => {
    if (delivery.entered) {
      services.logger.error({ source: delivery.source }, 'a source gave the same delivery twice; it runs once');
      return EMPTY;
    }
    delivery.entered = true;
    // Nothing below rejects; if it did, one delivery's bug would end the stream of all.
    return run(delivery).catch((error: unknown) => {
      services.logger.fatal({ err: error, source: delivery.source }, 'a delivery was not settled');
      return { delivery, verdict: undefined };
    });
  });

  async function run(delivery: Delivery): Promise<Settled> {
    const passing = pass(delivery);
    if (passing) await passing;
    const verdict = await settle(delivery);
    delivery.credit?.giveBack();
    return { delivery, verdict };
  }
}

/**
 * The stages one after another, as one function that never rejects: what a stage throws is a bug, and ends its own
 * delivery only.
 */
export function through(stages: readonly Stage[], { logger }: Pick<PipelineServices, 'logger'>): Stage {
  return async (delivery) => {
    try {
      for (const stage of stages) {
        const pending = stage(delivery);
        if (pending) await pending;
      }
    } catch (error) {
      logger.error({ err: error, source: delivery.source, id: delivery.invocation?.id }, 'a stage failed');
      delivery.outcome = failed('internal', 'internal', messageOf(error), 0);
    }
  };
}
