import { Readable } from 'node:stream';
import { format } from 'node:util';
import type { Clock } from '../../../core/contracts/clock.ts';
import type { ProviderHost } from '../../../core/contracts/definition.ts';
import { messageOf } from '../../../core/contracts/errors.ts';
import type { Body, Invocation, Outcome } from '../../../core/contracts/invocation.ts';
import type { Call } from '../../../core/contracts/provider.ts';
import type { FunctionContext, FunctionLog } from './api.ts';
import { failed } from '../../../core/kit/outcome.ts';
import { answerOf, answerOfResponse, BadResponse, type Answer } from './runtime/answer.ts';
import { Event, requestOf } from './runtime/event.ts';
import { load, type Loaded } from './runtime/load.ts';
import { collect, TooLong } from './send-body.ts';
import type { PoolSettings } from './settings.ts';

/**
 * A function on the main thread (`isolation: none`): the cheapest way to run one, for small and trusted ones. It shares
 * everything with the gateway, its event loop first of all: what blocks here blocks every caller, and nothing can end
 * it. The pipeline answers at the deadline all the same.
 */
export class InlineFunction {
  readonly settings: PoolSettings;
  readonly #host: ProviderHost;
  #loaded: Loaded | undefined;
  #failure = 'the module has not been imported';
  #generation = 0;

  constructor(settings: PoolSettings, host: ProviderHost) {
    this.settings = settings;
    this.#host = host;
  }

  /** Imports the module, again if it was before. Rejects with what is wrong with it. */
  async load(): Promise<void> {
    const generation = ++this.#generation;
    // Modules are cached by their URL: another query is another module. What it imports itself is not taken up anew.
    const url = `${this.settings.moduleUrl}?loaded=${Date.now()}-${generation}`;
    try {
      const loaded = await load(url);
      if (generation === this.#generation) this.#loaded = loaded;
    } catch (error) {
      this.#loaded = undefined;
      this.#failure = messageOf(error);
      throw error;
    }
  }

  /** Not async: a function that answers at once costs one promise, the one that is returned. */
  invoke(call: Call): Promise<Outcome> {
    const loaded = this.#loaded;
    if (!loaded) return Promise.resolve(failed('crash', { code: 'function.crashed', message: this.#failure }, 0));
    const { clock } = this.#host;
    const { invocation, startedAt } = call;
    const { body } = invocation;
    try {
      const context = new InlineContext(call, this.settings, this.#host);
      if (loaded.fetches) {
        const result = loaded.handle(requestOf(invocation, webBody(body), call.signal), context);
        return this.#settle(Promise.resolve(result), answerOfResponse, startedAt);
      }
      if (body instanceof Readable) {
        const handling = collect(body, this.settings.maxBody).then((bytes) =>
          loaded.handle(new Event(invocation, bytes), context),
        );
        return this.#settle(handling, answerOf, startedAt);
      }
      if (body !== null && body.byteLength > this.settings.maxBody) throw new TooLong(this.settings.maxBody);
      const result = loaded.handle(new Event(invocation, body, true), context);
      if (result instanceof Promise) return this.#settle(result, answerOf, startedAt);
      return Promise.resolve(outcomeOf(answerOf(result), startedAt, clock));
    } catch (error) {
      return Promise.resolve(failedOutcome(error, startedAt, clock));
    }
  }

  #settle(result: Promise<unknown>, answerOf: (result: unknown) => Answer, startedAt: number): Promise<Outcome> {
    const { clock } = this.#host;
    const failed = (error: unknown): Outcome => failedOutcome(error, startedAt, clock);
    return result.then((value) => {
      try {
        return outcomeOf(answerOf(value), startedAt, clock);
      } catch (error) {
        return failed(error);
      }
    }, failed);
  }
}

function outcomeOf({ status, headers, body }: Answer, startedAt: number, clock: Clock): Outcome {
  const whole = body === null || typeof body === 'string' || body instanceof Uint8Array;
  return {
    status,
    headers,
    body: whole ? body : Readable.from(body, { objectMode: false }),
    durationMs: clock.monotonic() - startedAt,
    failure: undefined,
    error: undefined,
  };
}

function failedOutcome(error: unknown, startedAt: number, clock: Clock): Outcome {
  const durationMs = clock.monotonic() - startedAt;
  if (error instanceof TooLong) return failed('refused', { code: 'limit.body', message: error.message }, durationMs);
  const code = error instanceof BadResponse ? 'function.bad-response' : 'function.failed';
  return failed(undefined, { code, message: messageOf(error) }, durationMs);
}

/** What costs something is made only if the function asks for it. */
class InlineContext implements FunctionContext {
  readonly #call: Call;
  readonly #settings: PoolSettings;
  readonly #host: ProviderHost;

  constructor(call: Call, settings: PoolSettings, host: ProviderHost) {
    this.#call = call;
    this.#settings = settings;
    this.#host = host;
  }

  get function(): string {
    return this.#settings.function;
  }

  get attempt(): number {
    return this.#call.invocation.attempt;
  }

  get env(): FunctionContext['env'] {
    return this.#settings.env;
  }

  get deadline(): number {
    const { clock } = this.#host;
    return Math.round(clock.now() + this.#call.deadline - clock.monotonic());
  }

  get signal(): AbortSignal {
    return this.#call.signal;
  }

  get log(): FunctionLog {
    return logOf(this.#host, this.#call.invocation);
  }
}

function logOf(host: ProviderHost, { function: name, callId }: Invocation): FunctionLog {
  const line =
    (level: string) =>
    (...values: readonly unknown[]): void =>
      host.functionLog({ function: name, instance: 'main', text: `${level} ${format(...values)}`, callId });
  return { debug: line('DEBUG'), info: line('INFO'), warn: line('WARN'), error: line('ERROR') };
}

function webBody(body: Body): Uint8Array | ReadableStream | null {
  return body instanceof Readable ? Readable.toWeb(body) : body;
}
