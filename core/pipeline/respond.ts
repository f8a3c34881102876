import type { Delivery, Verdict } from '../contracts/delivery.ts';
import { messageOf } from '../contracts/errors.ts';
import type { Outcome } from '../contracts/invocation.ts';
import type { NewMessage } from '../contracts/queue.ts';
import { effectsOf } from '../delivery/effects.ts';
import { retryDecision, succeeded } from '../delivery/retry.ts';
import { readBody } from './decide.ts';
import { discard, isStream } from './execute.ts';
import { failed } from '../kit/outcome.ts';
import type { PipelineServices } from './stage.ts';

/**
 * The only place that settles a delivery. It turns the outcome into a verdict (reply or acknowledgement, retry, dead
 * letter) by the function's policy, with the effects that follow from it, and says it to the source exactly once.
 */
export function respond(services: PipelineServices): (delivery: Delivery) => Verdict | Promise<Verdict> {
  const { catalog, clock, limits, logger, meter, emit } = services;

  return (delivery) => {
    const outcome = (delivery.outcome ??= failed(
      'internal',
      { code: 'internal', message: 'no stage gave an outcome' },
      0,
    ));
    if (delivery.decision === 'run' && delivery.entry)
      meter.ended(delivery.entry.name, outcome.status, outcome.durationMs);
    if (delivery.settlement.kind === 'replies') return say(delivery, answer(delivery, outcome));
    return settling(delivery, outcome).then((verdict) => say(delivery, verdict));
  };

  /** Tells the source, and what listens; at once where the source answers at once. */
  function say(delivery: Delivery, verdict: Verdict): Verdict | Promise<Verdict> {
    // A streamed answer still runs; everything else is done with its slot.
    if (verdict.kind !== 'done' || !isStream(verdict.outcome.body)) releaseSlot(delivery);
    let saying: void | Promise<void> = undefined;
    try {
      saying = delivery.settlement.settle(verdict, delivery);
    } catch (error) {
      unsaid(delivery, error);
    }
    if (!saying) return said(delivery, verdict);
    return saying.catch((error: unknown) => unsaid(delivery, error)).then(() => said(delivery, verdict));
  }

  function said(delivery: Delivery, verdict: Verdict): Verdict {
    if (verdict.kind === 'done') discard(verdict.outcome);
    releaseSlot(delivery);
    tell(delivery, verdict);
    return verdict;
  }

  /** The sender was told nothing, so it gives the message again, or its connection ends: either is its contract. */
  function unsaid(delivery: Delivery, error: unknown): void {
    meter.settleFailed(delivery.source);
    logger.error({ err: error, source: delivery.source, id: delivery.invocation?.id }, 'a settlement failed');
  }

  /** For a caller who waits: whatever came of it is the answer. */
  function answer(delivery: Delivery, outcome: Outcome): Verdict {
    if (delivery.accepted) return { kind: 'accepted', accepted: delivery.accepted };
    return { kind: 'done', outcome, effects: noEffects };
  }

  /** For a source that keeps the message until it is told what became of it. */
  async function settling(delivery: Delivery, outcome: Outcome): Promise<Verdict> {
    if (delivery.accepted) return { kind: 'accepted', accepted: delivery.accepted };
    if (delivery.aborted === 'cancelled') return { kind: 'cancelled', outcome };
    if (delivery.aborted !== undefined) return { kind: 'retry', delayMs: 0, outcome, counted: false };
    const policy = catalog.get(delivery.invocation?.function ?? '')?.policy;
    const whole = await collected(outcome);
    const retry = policy?.retry ?? services.standardRetry;
    const decision = retryDecision(retry, whole, delivery.invocation?.attempt ?? 1, Math.random, clock.now());
    if (decision.kind === 'retry') return { kind: 'retry', delayMs: decision.delayMs, outcome: whole, counted: true };
    const effects = effectsOf(delivery, whole, policy, retry.attempts, clock.now());
    if (decision.kind === 'done') return { kind: 'done', outcome: whole, effects };
    return { kind: 'dead', reason: decision.reason, outcome: whole, effects };
  }

  /** Queued work is over only when its whole answer is there, so that a function that dies while streaming is retried. */
  async function collected(outcome: Outcome): Promise<Outcome> {
    const { body } = outcome;
    if (!isStream(body)) return outcome;
    try {
      return { ...outcome, body: await readBody(body, limits.resultBody) };
    } catch (error) {
      discard(outcome);
      return failed(
        'crash',
        { code: 'function.bad-response', message: `the streamed answer failed: ${messageOf(error)}` },
        outcome.durationMs,
      );
    }
  }

  function tell(delivery: Delivery, verdict: Verdict): void {
    const { invocation } = delivery;
    if (!invocation) return;
    const { id, function: name, attempt } = invocation;
    const about = { at: clock.now(), id, function: name, attempt };
    switch (verdict.kind) {
      case 'accepted':
        if (!verdict.accepted.duplicate) emit('invocation.accepted', about);
        return;
      case 'retry':
        if (verdict.counted) meter.retried(name);
        emit('invocation.retried', { ...about, status: verdict.outcome.status, delayMs: verdict.delayMs });
        return;
      case 'dead':
        meter.dead(name, verdict.reason);
        emit('invocation.dead', { ...about, status: verdict.outcome.status, reason: verdict.reason });
        return;
      case 'cancelled':
        emit('invocation.cancelled', about);
        return;
      case 'done': {
        const type = succeeded(verdict.outcome) ? 'invocation.succeeded' : 'invocation.failed';
        emit(type, { ...about, status: verdict.outcome.status });
      }
    }
  }
}

const noEffects: readonly NewMessage[] = [];

function releaseSlot(delivery: Delivery): void {
  delivery.releaseSlot?.();
  delivery.releaseSlot = undefined;
}
