import { Readable } from 'node:stream';
import type { Clock } from '../../../core/contracts/clock.ts';
import type { Outcome } from '../../../core/contracts/invocation.ts';
import type { Call, CallWatcher } from '../../../core/contracts/provider.ts';
import { isStream } from '../../../core/kit/body.ts';
import type { FunctionSettings } from './settings.ts';

/**
 * Runs a call under the watchdogs' own limits of time, where the function sets any: `exec_timeout` and `write_timeout`
 * for the whole of it, `read_timeout` for the body to come. Each ends it as its deadline would.
 */
export function withinLimits(
  call: Call,
  { limitMs, readMs }: Pick<FunctionSettings, 'limitMs' | 'readMs'>,
  clock: Clock,
  run: (call: Call) => Promise<Outcome>,
): Promise<Outcome> {
  const { body } = call.invocation;
  if (limitMs === undefined && (readMs === undefined || !(body instanceof Readable))) return run(call);
  const limited = new LimitedCall(call, limitMs, clock);
  if (readMs !== undefined && body instanceof Readable) limited.limitBody(body, readMs);
  return run(limited).then((outcome) => {
    // A streamed answer has to be over in time as well.
    if (isStream(outcome.body)) outcome.body.once('close', () => limited.over());
    else limited.over();
    return outcome;
  });
}

class LimitedCall implements Call {
  readonly invocation: Call['invocation'];
  readonly startedAt: number;
  readonly deadline: number;
  readonly #controller = new AbortController();
  readonly #timers: NodeJS.Timeout[] = [];

  constructor(call: Call, limitMs: number | undefined, clock: Clock) {
    this.invocation = call.invocation;
    this.startedAt = call.startedAt;
    this.deadline = Math.min(call.deadline, clock.monotonic() + (limitMs ?? Infinity));
    if (limitMs !== undefined) this.#expireIn(limitMs);
    call.watch({ aborted: (reason) => this.#controller.abort(reason) });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  watch(watcher: CallWatcher): void {
    const tell = (): void => watcher.aborted(this.signal.reason as DOMException);
    if (this.signal.aborted) tell();
    else this.signal.addEventListener('abort', tell, { once: true });
  }

  limitBody(body: Readable, readMs: number): void {
    const timer = this.#expireIn(readMs);
    body.once('end', () => clearTimeout(timer));
  }

  over(): void {
    for (const timer of this.#timers) clearTimeout(timer);
  }

  #expireIn(ms: number): NodeJS.Timeout {
    const timer = setTimeout(() => {
      this.#controller.abort(new DOMException("a limit of the watchdog's has passed", 'TimeoutError'));
    }, ms);
    this.#timers.push(timer);
    return timer;
  }
}
