import { Observable, type OperatorFunction } from '../kit/rxjs.ts';
import type { Delivery, Settled, Verdict } from '../contracts/delivery.ts';
import { messageOf } from '../contracts/errors.ts';
import { analyze } from './analyze.ts';
import { decide } from './decide.ts';
import { execute } from './execute.ts';
import { lookup } from './lookup.ts';
import { respond } from './respond.ts';
import { failed } from '../kit/outcome.ts';
import type { PipelineServices } from './stage.ts';

/**
 * The one way through: analyze → lookup → decide → execute → respond, for every delivery of every source. Subscribed
 * once, over all sources merged. One operator around plain functions, because an operator for each stage would cost
 * five times as much; without a limit of its own, because sources are bounded by their credit. It is `mergeMap` without
 * the Observable, the subscriber and the place in a list that `mergeMap` makes for each of its promises.
 */
export function pipeline(services: PipelineServices): OperatorFunction<Delivery, Settled> {
  const { logger } = services;
  return (deliveries) =>
    new Observable((subscriber) => {
      let inFlight = 0;
      let sourceEnded = false;
      const enter = through(services, (settled) => {
        inFlight--;
        subscriber.next(settled);
        if (sourceEnded && inFlight === 0) subscriber.complete();
      });
      const taking = deliveries.subscribe({
        next: (delivery) => {
          if (delivery.entered) {
            logger.error({ source: delivery.source }, 'a source gave the same delivery twice; it runs once');
            return;
          }
          delivery.entered = true;
          inFlight++;
          enter(delivery);
        },
        error: (error: unknown) => subscriber.error(error),
        complete: () => {
          sourceEnded = true;
          if (inFlight === 0) subscriber.complete();
        },
      });
      return () => taking.unsubscribe();
    });
}

/**
 * Takes a delivery through the stages, and calls `end` once for each, whatever goes wrong: one delivery's bug must not end
 * the stream of all. Nothing is made for a delivery that need not wait: an async function, its promise and what hangs on
 * it cost as much as two stages.
 */
function through(services: PipelineServices, end: (settled: Settled) => void): (delivery: Delivery) => void {
  const { logger } = services;
  const analyzing = analyze(services);
  const lookingUp = lookup(services);
  const deciding = decide(services);
  const executing = execute(services, settle);
  const respondTo = respond(services);

  // One function for each stage, not a loop over them: V8 makes one of what always calls the same.
  return (delivery) => {
    try {
      goOn(delivery, analyzing(delivery), toLookup);
    } catch (error) {
      broken(delivery, error);
    }
  };

  function toLookup(delivery: Delivery): void {
    goOn(delivery, lookingUp(delivery), toDecide);
  }

  function toDecide(delivery: Delivery): void {
    goOn(delivery, deciding(delivery), executing);
  }

  function goOn(delivery: Delivery, pending: void | Promise<void>, next: (delivery: Delivery) => void): void {
    if (pending) later(delivery, pending, next);
    else next(delivery);
  }

  function later(delivery: Delivery, pending: Promise<void>, next: (delivery: Delivery) => void): void {
    const goes = (): void => {
      try {
        next(delivery);
      } catch (error) {
        broken(delivery, error);
      }
    };
    pending.then(goes, (error: unknown) => broken(delivery, error));
  }

  /** What a stage throws is a bug, and ends its own delivery only. */
  function broken(delivery: Delivery, error: unknown): void {
    logger.error({ err: error, source: delivery.source, id: delivery.invocation?.id }, 'a stage failed');
    delivery.outcome = failed('internal', { code: 'internal', message: messageOf(error) }, 0);
    settle(delivery);
  }

  function settle(delivery: Delivery): void {
    let settling: Verdict | Promise<Verdict>;
    try {
      settling = respondTo(delivery);
    } catch (error) {
      return unsettled(delivery, error);
    }
    if (!(settling instanceof Promise)) return settled(delivery, settling);
    settling.then(
      (verdict) => settled(delivery, verdict),
      (error: unknown) => unsettled(delivery, error),
    );
  }

  function settled(delivery: Delivery, verdict: Verdict): void {
    delivery.trace?.ended(verdict);
    try {
      delivery.credit?.giveBack();
    } catch (error) {
      return unsettled(delivery, error);
    }
    end({ delivery, verdict });
  }

  function unsettled(delivery: Delivery, error: unknown): void {
    logger.fatal({ err: error, source: delivery.source }, 'a delivery was not settled');
    delivery.trace?.ended(undefined);
    end({ delivery, verdict: undefined });
  }
}
