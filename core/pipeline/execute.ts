import type { AbortReason, Delivery, Interruptible } from '../contracts/delivery.ts';
import { messageOf } from '../contracts/errors.ts';
import type { Invocation, Outcome } from '../contracts/invocation.ts';
import type { Call, CallWatcher, FunctionEntry } from '../contracts/provider.ts';
import type { Expiring } from '../delivery/deadlines.ts';
import { failpoint } from '../delivery/failpoint.ts';
import { isStream } from '../kit/body.ts';
import { failed } from '../kit/outcome.ts';
import { abortedOutcome, type PipelineServices } from './stage.ts';

/**
 * Calls the provider, with the deadline and a signal. Whatever the provider does, the attempt ends by the deadline.
 * `ended` is told of each delivery once, when nothing of it runs any more: a promise for it would be settled by another
 * one, and the two of them cost more than what they tell.
 */
export function execute(services: PipelineServices, ended: (delivery: Delivery) => void): (delivery: Delivery) => void {
  const { clock, emit, meter } = services;
  return (delivery) => {
    const { entry, invocation } = delivery;
    if (delivery.outcome || delivery.decision !== 'run' || !entry || !invocation) return ended(delivery);
    delivery.startedAt = clock.monotonic();
    delivery.trace?.started();
    meter.started(entry.name);
    emit('invocation.started', { id: invocation.id, function: entry.name, attempt: invocation.attempt });
    new Attempt(delivery, invocation, services, ended).run(entry);
  };
}

/**
 * One attempt: what the provider gets, what the deadline ends, and what an abort of the delivery interrupts. One object
 * and no closure over it: closures would tie every call to the one before it in the old generation of the heap.
 */
class Attempt implements Call, Expiring, Interruptible {
  readonly invocation: Invocation;
  readonly startedAt: number;
  readonly deadline: number;
  previous: Expiring['previous'] = undefined;
  next: Expiring['next'] = undefined;
  readonly #delivery: Delivery;
  readonly #services: PipelineServices;
  readonly #ended: (delivery: Delivery) => void;
  #watcher: CallWatcher | undefined;
  #controller: AbortController | undefined;
  #reason: DOMException | undefined;

  constructor(
    delivery: Delivery,
    invocation: Invocation,
    services: PipelineServices,
    ended: (delivery: Delivery) => void,
  ) {
    this.#delivery = delivery;
    this.#services = services;
    this.#ended = ended;
    this.invocation = invocation;
    this.startedAt = delivery.startedAt;
    this.deadline = delivery.startedAt + invocation.timeoutMs;
  }

  run(entry: FunctionEntry): void {
    const delivery = this.#delivery;
    delivery.work = this;
    this.#services.deadlines.watch(this);
    if (delivery.aborted !== undefined) this.interrupt(delivery.aborted);
    else {
      entry.provider.invoke(entry, this).then(
        (outcome) => this.#end(outcome),
        (thrown: unknown) => this.#crashed(entry, thrown),
      );
    }
    failpoint('execute.running');
  }

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.#reason) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  watch(watcher: CallWatcher): void {
    this.#watcher = watcher;
    if (this.#reason) watcher.aborted(this.#reason);
  }

  expire(): void {
    const message = `the function did not answer within ${this.invocation.timeoutMs} ms`;
    const reason = new DOMException('the deadline of the attempt has passed', 'TimeoutError');
    this.#stop(failed('timeout', { code: 'function.timeout', message }, this.#elapsedMs()), reason);
  }

  interrupt(reason: AbortReason): void {
    const thrown = new DOMException(`the attempt was aborted: ${reason}`, 'AbortError');
    this.#stop(abortedOutcome(reason, this.#elapsedMs()), thrown);
  }

  #elapsedMs(): number {
    return this.#services.clock.monotonic() - this.startedAt;
  }

  #stop(outcome: Outcome, reason: DOMException): void {
    if (this.#reason) return;
    this.#reason = reason;
    if (this.#conclude(outcome)) queueMicrotask(() => this.#ended(this.#delivery)); // The provider is told first.
    this.#watcher?.aborted(reason);
    this.#controller?.abort(reason);
  }

  /** A provider reports failures as outcomes; a rejection is a bug in it, and must not hurt anybody else. */
  #crashed(entry: FunctionEntry, thrown: unknown): void {
    const { logger } = this.#services;
    logger.error({ err: thrown, provider: entry.providerName, function: entry.name }, 'a provider failed');
    this.#end(failed('internal', { code: 'internal', message: messageOf(thrown) }, this.#elapsedMs()));
  }

  #end(outcome: Outcome): void {
    if (this.#conclude(outcome)) this.#ended(this.#delivery);
  }

  /** Whether it is the first one: what comes later is for nobody. */
  #conclude(outcome: Outcome): boolean {
    const delivery = this.#delivery;
    const { deadlines } = this.#services;
    if (delivery.outcome) {
      discard(outcome);
      return false;
    }
    // A streamed answer runs on: its deadline holds until the last byte.
    if (isStream(outcome.body)) outcome.body.once('close', () => deadlines.forget(this));
    else deadlines.forget(this);
    delivery.work = undefined;
    delivery.outcome = outcome;
    return true;
  }
}

/** An answer that nobody will read: a stream in it must not stay open for ever. */
export function discard(outcome: Outcome): void {
  if (!isStream(outcome.body)) return;
  outcome.body.on('error', () => undefined); // Nobody reads it, so its end is no news.
  outcome.body.destroy();
}
