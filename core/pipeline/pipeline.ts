import { Observable, type OperatorFunction } from 'rxjs';
import type { Delivery, Settled } from '../contracts/delivery.ts';
import { messageOf } from '../contracts/errors.ts';
import { analyze } from './analyze.ts';
import { decide } from './decide.ts';
import { execute } from './execute.ts';
import { lookup } from './lookup.ts';
import { respond } from './respond.ts';
import { failed } from '../kit/outcome.ts';
import type { PipelineServices, Stage } from './stage.ts';

/**
 * The one way through: analyze → lookup → decide → execute → respond, for every delivery of every source. Subscribed
 * once, over all sources merged. One operator around plain functions, because an operator for each stage would cost
 * five times as much; without a limit of its own, because sources are bounded by their credit. It is `mergeMap` without
 * the Observable, the subscriber and the place in a list that `mergeMap` makes for each of its promises.
 */
export function pipeline(services: PipelineServices): OperatorFunction<Delivery, Settled> {
  const { logger } = services;
  const stages: readonly Stage[] = [analyze(services), lookup(services), decide(services), execute(services)];
  const settle = respond(services);

  return (deliveries) =>
    new Observable((subscriber) => {
      let inFlight = 0;
      let sourceEnded = false;
      const end = (settled: Settled): void => {
        inFlight--;
        subscriber.next(settled);
        if (sourceEnded && inFlight === 0) subscriber.complete();
      };
      const taking = deliveries.subscribe({
        next: (delivery) => {
          if (delivery.entered) {
            logger.error({ source: delivery.source }, 'a source gave the same delivery twice; it runs once');
            return;
          }
          delivery.entered = true;
          inFlight++;
          void run(delivery).then(end);
        },
        error: (error: unknown) => subscriber.error(error),
        complete: () => {
          sourceEnded = true;
          if (inFlight === 0) subscriber.complete();
        },
      });
      return () => taking.unsubscribe();
    });

  /** Never rejects: if it did, one delivery's bug would end the stream of all. */
  async function run(delivery: Delivery): Promise<Settled> {
    try {
      for (const stage of stages) {
        const pending = stage(delivery);
        if (pending) await pending;
      }
    } catch (error) {
      // What a stage throws is a bug, and ends its own delivery only.
      logger.error({ err: error, source: delivery.source, id: delivery.invocation?.id }, 'a stage failed');
      delivery.outcome = failed('internal', { code: 'internal', message: messageOf(error) }, 0);
    }
    try {
      const settling = settle(delivery);
      const verdict = settling instanceof Promise ? await settling : settling;
      delivery.credit?.giveBack();
      return { delivery, verdict };
    } catch (error) {
      logger.fatal({ err: error, source: delivery.source }, 'a delivery was not settled');
      return { delivery, verdict: undefined };
    }
  }
}
