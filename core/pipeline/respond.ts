import type { Delivery, Verdict } from '../contracts/delivery.ts';
import { errorCodes, messageOf, MillraceError } from '../contracts/errors.ts';
import type { Invocation, Outcome } from '../contracts/invocation.ts';
import type { FunctionPolicy } from '../contracts/policy.ts';
import type { EnqueueResult, NewMessage, Queue } from '../contracts/queue.ts';
import { attemptErrorOf, effectsOf } from '../delivery/effects.ts';
import { failpoint } from '../delivery/failpoint.ts';
import { failedByItems, failedItems, itemsAlone } from '../delivery/items.ts';
import { retryDecision, succeeded } from '../delivery/retry.ts';
import { messageOfInvocation, readBody, unavailable } from './decide.ts';
import { discard } from './execute.ts';
import { isStream } from '../kit/body.ts';
import { failed } from '../kit/outcome.ts';
import type { PipelineServices } from './stage.ts';

/**
 * The only place that settles a delivery. It turns the outcome into a verdict (reply or acknowledgement, retry, dead
 * letter) by the function's policy, with the effects that follow from it, and says it to the source exactly once.
 */
export function respond(services: PipelineServices): (delivery: Delivery) => Verdict | Promise<Verdict> {
  const { callbackFunction, catalog, clock, limits, logger, meter, emit, recent } = services;

  return (delivery) => {
    const { accepted } = delivery;
    // It has no outcome yet, and needs none.
    if (accepted) return conclude(delivery, { kind: 'accepted', accepted });
    const outcome = (delivery.outcome ??= failed(
      'internal',
      { code: 'internal', message: 'no stage gave an outcome' },
      0,
    ));
    if (delivery.decision === 'run' && delivery.entry) {
      const method = delivery.invocation?.method ?? 'POST';
      meter.ended(delivery.entry.name, method, outcome.status, outcome.durationMs);
    }
    if (delivery.settlement.kind === 'replies') {
      if (delivery.request.replyTo) {
        return published(delivery, outcome).then((verdict) => say(delivery, verdict));
      }
      return say(delivery, { kind: 'done', outcome, effects: noEffects });
    }
    const verdict = settling(delivery, outcome);
    return verdict instanceof Promise ? verdict.then((late) => conclude(delivery, late)) : conclude(delivery, verdict);
  };

  function conclude(delivery: Delivery, verdict: Verdict): Verdict | Promise<Verdict> {
    const isOfBroker = delivery.settlement.kind === 'settles' && delivery.request.lease === undefined;
    if (!isOfBroker) return say(delivery, verdict);
    failpoint('ack.before');
    const said = say(delivery, verdict);
    if (said instanceof Promise) return said.then(acknowledged);
    return acknowledged(said);
  }

  /** A broker's message. */
  function acknowledged(verdict: Verdict): Verdict {
    failpoint('ack.after');
    return verdict;
  }

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
    return saying.then(
      () => said(delivery, verdict),
      (error: unknown) => {
        unsaid(delivery, error);
        return said(delivery, verdict);
      },
    );
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

  /** For one whose answer is to be published as well: that is in a queue before it is said. */
  async function published(delivery: Delivery, answered: Outcome): Promise<Verdict> {
    const policy = catalog.get(delivery.invocation?.function ?? '')?.policy;
    const outcome = await collected(answered);
    const [name = '', queue] = queueOf(policy);
    try {
      if (!queue) throw unavailable(name);
      const { attempts } = policy?.retry ?? services.standardRetry;
      // What follows a call by the function's policy follows queued work only.
      const effects = effectsFor(delivery, outcome, undefined, attempts);
      await taken(queue, effects);
      return { kind: 'done', outcome, effects: noEffects };
    } catch (error) {
      logger.warn({ err: error, queue: name, id: delivery.invocation?.id }, 'an outcome could not be published');
      const refusal = error instanceof MillraceError ? error : unavailable(name, error);
      return { kind: 'done', outcome: failed('refused', refusal, outcome.durationMs), effects: noEffects };
    }
  }

  function queueOf(policy: FunctionPolicy | undefined): readonly [name?: string, queue?: Queue | undefined] {
    return policy ? [policy.queue, services.queues.get(policy.queue)] : ([...services.queues][0] ?? []);
  }

  /** For a source that keeps the message until it is told what became of it: at once unless something is to be waited for. */
  function settling(delivery: Delivery, outcome: Outcome): Verdict | Promise<Verdict> {
    if (delivery.aborted === 'cancelled') return { kind: 'cancelled', outcome };
    if (delivery.aborted !== undefined) return { kind: 'retry', delayMs: 0, outcome, counted: false };
    const policy = catalog.get(delivery.invocation?.function ?? '')?.policy;
    const keepsIt = delivery.request.lease === undefined;
    if (keepsIt && outcome.failure === 'refused' && outcome.error && errorCodes[outcome.error.code].retryable) {
      const delayMs = 1000 * (outcome.retryAfterSeconds ?? 1);
      return { kind: 'retry', delayMs, outcome, counted: false };
    }
    if (!isStream(outcome.body)) return concluded(delivery, outcome, policy);
    return collected(outcome).then((whole) => concluded(delivery, whole, policy));
  }

  function concluded(
    delivery: Delivery,
    outcome: Outcome,
    policy: FunctionPolicy | undefined,
  ): Verdict | Promise<Verdict> {
    const verdict = delivery.invocation?.items
      ? verdictByItems(delivery, delivery.invocation, outcome, policy)
      : verdictOf(delivery, outcome, policy);
    // A later one of its key would overtake it: it is tried again where it is.
    if (verdict.kind === 'retry' && delivery.request.keepsOrder) return verdict;
    const keepsIt = delivery.request.lease === undefined;
    if (!keepsIt || (verdict.kind === 'done' && verdict.effects.length === 0)) return verdict;
    const isHandedOver = delivery.message !== undefined || delivery.invocation?.mode === 'sync';
    return isHandedOver ? handOver(delivery, verdict, policy) : verdict;
  }

  function verdictOf(delivery: Delivery, outcome: Outcome, policy: FunctionPolicy | undefined): Attempted {
    const retry = policy?.retry ?? services.standardRetry;
    const decision = retryDecision(retry, outcome, delivery.invocation?.attempt ?? 1, Math.random, clock);
    if (decision.kind === 'retry') return { kind: 'retry', delayMs: decision.delayMs, outcome, counted: true };
    const effects = effectsFor(delivery, outcome, policy, retry.attempts);
    if (decision.kind === 'done') return { kind: 'done', outcome, effects };
    return { kind: 'dead', reason: decision.reason, outcome, effects };
  }

  /** A batch is done but for what its answer names as failed: that goes on alone, or is all there is, and has failed. */
  function verdictByItems(
    delivery: Delivery,
    invocation: Invocation,
    outcome: Outcome,
    policy: FunctionPolicy | undefined,
  ): Attempted {
    const { items = [] } = invocation;
    const failures = succeeded(outcome) ? failedItems(outcome, items) : undefined;
    if (!failures || failures.size === 0) return verdictOf(delivery, outcome, policy);
    const { lease } = delivery.request;
    const alone = lease && items.length > 1 ? itemsAlone(invocation, lease.message, failures, clock.now()) : undefined;
    if (!alone) return verdictOf(delivery, failedByItems(outcome, failures), policy);
    const { attempts } = policy?.retry ?? services.standardRetry;
    return { kind: 'done', outcome, effects: [...effectsFor(delivery, outcome, policy, attempts), ...alone] };
  }

  /** Counted, so that a fan-out or a loop in the making can be seen: ends, and what followed from them. */
  function effectsFor(
    delivery: Delivery,
    outcome: Outcome,
    policy: FunctionPolicy | undefined,
    attempts: number,
  ): readonly NewMessage[] {
    const effects = effectsOf(delivery, outcome, policy, attempts, clock, callbackFunction);
    if (effects.length > 0) meter.followed(delivery.invocation?.function ?? '', effects.length);
    return effects;
  }

  /**
   * What failed at a connector goes on in the function's queue, with its attempt counted: to be tried again, or among the
   * dead letters. So it is with every broker, whatever that can do by itself, and the broker's message is acknowledged.
   * While the queue cannot take it the broker keeps it.
   */
  async function handOver(
    delivery: Delivery,
    verdict: Attempted,
    policy: FunctionPolicy | undefined,
  ): Promise<Verdict> {
    const effects = verdict.kind === 'retry' ? noEffects : verdict.effects;
    const { outcome } = verdict;
    const [name = '', queue] = queueOf(policy);
    try {
      const own = verdict.kind === 'done' ? [] : [await failedMessage(delivery, verdict, policy)];
      if (!queue) throw unavailable(name);
      // What follows goes first: if there is no room for that, the source keeps the whole, and nothing comes twice.
      await taken(queue, effects);
      const [first] = await taken(queue, own);
      if (verdict.kind !== 'retry') return { ...verdict, effects: noEffects };
      const { id, callId } = delivery.invocation ?? { id: '', callId: '' };
      meter.retried(delivery.invocation?.function ?? '');
      const duplicate = first?.status === 'duplicate';
      return { kind: 'accepted', accepted: { id: first?.id ?? id, callId, duplicate, durability: queue.durability } };
    } catch (error) {
      logger.warn({ err: error, queue: name, id: delivery.invocation?.id }, 'a failed message stays at its source');
      return { kind: 'retry', delayMs: 5000, outcome, counted: false };
    }
  }

  async function taken(queue: Queue, messages: readonly NewMessage[]): Promise<readonly EnqueueResult[]> {
    const results = messages.length === 0 ? [] : await queue.enqueue(messages);
    if (!results.some(({ status }) => status === 'full')) return results;
    throw new MillraceError('queue.full', 'the queue is full');
  }

  /** With what has become of it so far. */
  async function failedMessage(
    delivery: Delivery,
    verdict: Exclude<Attempted, { kind: 'done' }>,
    policy: FunctionPolicy | undefined,
  ): Promise<NewMessage> {
    const { invocation, request } = delivery;
    if (!invocation) throw new Error('it was not even analyzed');
    const ended = policy ?? { ...unknownFunction, retry: services.standardRetry };
    const body = await readBody(request.body, Infinity);
    const message = messageOfInvocation(invocation, { options: request.options }, ended, body, limits.dedupWindowMs);
    const error = attemptErrorOf(verdict.outcome);
    return {
      ...message,
      delayMs: verdict.kind === 'retry' ? verdict.delayMs : undefined,
      history: { attempt: invocation.attempt, error, dead: verdict.kind === 'dead' ? verdict.reason : undefined },
    };
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
    if (verdict.kind === 'done') {
      const type = succeeded(verdict.outcome) ? 'invocation.succeeded' : 'invocation.failed';
      emit(type, { id, function: name, attempt, status: verdict.outcome.status });
      return;
    }
    const about = { id, function: name, attempt };
    switch (verdict.kind) {
      case 'accepted':
        if (verdict.accepted.duplicate) return;
        recent.seen(id, name);
        emit('invocation.accepted', about);
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
    }
  }
}

/** What the function's policy makes of an attempt that has ended. */
type Attempted = Extract<Verdict, { kind: 'done' | 'retry' | 'dead' }>;

const noEffects: readonly NewMessage[] = [];
/** How a message is kept whose function is not deployed. */
const unknownFunction = {
  timeoutMs: 30_000,
  maxAgeMs: undefined,
  result: { store: true, ttlMs: 86_400_000 },
} as const;

function releaseSlot(delivery: Delivery): void {
  delivery.slots?.release();
  delivery.slots = undefined;
}
