import type { Readable } from 'node:stream';
import type { AbortReason } from '../contracts/delivery.ts';
import { messageOf } from '../contracts/errors.ts';
import type { Invocation, Outcome } from '../contracts/invocation.ts';
import type { Call } from '../contracts/provider.ts';
import type { Expiring } from '../delivery/deadlines.ts';
import { failpoint } from '../delivery/failpoint.ts';
import { abortedOutcome, failed, type PipelineServices, type Stage } from './stage.ts';

/** Calls the provider, with the deadline and a signal. Whatever the provider does, the attempt ends by the deadline. */
export function execute({ clock, deadlines, emit, logger, meter }: PipelineServices): Stage {
  return (delivery) => {
    const { entry, invocation } = delivery;
    if (delivery.outcome || delivery.decision !== 'run' || !entry || !invocation) return;
    const startedAt = clock.monotonic();
    delivery.startedAt = startedAt;
    meter.started(entry.name);
    emit('invocation.started', {
      at: clock.now(),
      id: invocation.id,
      function: entry.name,
      attempt: invocation.attempt,
    });
    return new Promise((resolve) => {
      const attempt = new Attempt(invocation, startedAt + invocation.timeoutMs, end);
      delivery.onAbort = (reason) => attempt.abort(reason);
      deadlines.watch(attempt);
      if (delivery.aborted !== undefined) attempt.abort(delivery.aborted);
      else entry.provider.invoke(entry, attempt).then(finish, crash);
      failpoint('execute.running');

      function finish(outcome: Outcome): void {
        end(outcome);
      }
      function crash(thrown: unknown): void {
        // A provider reports failures as outcomes; a rejection is a bug in it, and must not hurt anybody else.
        logger.error({ err: thrown, provider: entry?.providerName, function: entry?.name }, 'a provider failed');
        end(failed('internal', 'internal', messageOf(thrown), clock.monotonic() - startedAt));
      }
      function end(outcome: Outcome | AbortReason | 'timeout'): void {
        if (delivery.outcome) {
          if (typeof outcome === 'object') discard(outcome);
          return;
        }
        // A streamed answer runs on: its deadline holds until the last byte.
        if (typeof outcome === 'object' && isStream(outcome.body))
          outcome.body.once('close', () => deadlines.forget(attempt));
        else deadlines.forget(attempt);
        delivery.onAbort = undefined;
        const durationMs = clock.monotonic() - startedAt;
        if (outcome === 'timeout') {
          const message = `the function did not answer within ${invocation?.timeoutMs} ms`;
          delivery.outcome = failed('timeout', 'function.timeout', message, durationMs);
        } else {
          delivery.outcome = typeof outcome === 'object' ? outcome : abortedOutcome(outcome, durationMs);
        }
        resolve();
      }
    });
  };
}

/** One attempt: what the provider gets, and what the deadline ends. The signal is made only if somebody asks for it. */
class Attempt implements Call, Expiring {
  readonly invocation: Invocation;
  readonly deadline: number;
  readonly #end: (cause: AbortReason | 'timeout') => void;
  #controller: AbortController | undefined;
  #reason: DOMException | undefined;

  constructor(invocation: Invocation, deadline: number, end: (cause: AbortReason | 'timeout') => void) {
    this.invocation = invocation;
    this.deadline = deadline;
    this.#end = end;
  }

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.#reason) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  expire(): void {
    this.#stop('timeout', new DOMException('the deadline of the attempt has passed', 'TimeoutError'));
  }

  abort(reason: AbortReason): void {
    this.#stop(reason, new DOMException(`the attempt was aborted: ${reason}`, 'AbortError'));
  }

  #stop(cause: AbortReason | 'timeout', reason: DOMException): void {
    this.#reason ??= reason;
    this.#end(cause);
    this.#controller?.abort(this.#reason);
  }
}

/** An answer that nobody will read: a stream in it must not stay open for ever. */
export function discard(outcome: Outcome): void {
  if (!isStream(outcome.body)) return;
  outcome.body.on('error', () => undefined); // Nobody reads it, so its end is no news.
  outcome.body.destroy();
}

export function isStream(body: Outcome['body']): body is Readable {
  return body !== null && typeof body === 'object' && 'pipe' in body;
}
