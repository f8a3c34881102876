import { Readable } from 'node:stream';
import type { Clock } from '../../../core/contracts/clock.ts';
import { messageOf } from '../../../core/contracts/errors.ts';
import type { Outcome } from '../../../core/contracts/invocation.ts';
import type { Call } from '../../../core/contracts/provider.ts';
import type { FunctionContext, FunctionLog } from './api.ts';
import { failure } from './failure.ts';
import { answerOf, answerOfResponse, BadResponse } from './runtime/answer.ts';
import { Event, requestOf } from './runtime/event.ts';
import { load, type Loaded } from './runtime/load.ts';
import { collect } from './send-body.ts';
import type { PoolSettings } from './settings.ts';

/**
 * A function on the main thread (`isolation: none`): the cheapest way to run one, for small and trusted ones. It shares
 * everything with the gateway, its event loop first of all: what blocks here blocks every caller.
 */
export class InlineFunction {
  readonly settings: PoolSettings;
  readonly #clock: Clock;
  readonly #log: FunctionLog;
  #loaded: Loaded | undefined;

  constructor(settings: PoolSettings, clock: Clock, log: FunctionLog) {
    this.settings = settings;
    this.#clock = clock;
    this.#log = log;
  }

  /** Imports the module. Rejects with what is wrong with it. */
  async load(generation: number): Promise<void> {
    // Modules are cached by their URL: another query is another module.
    this.#loaded = await load(
      generation === 0 ? this.settings.moduleUrl : `${this.settings.moduleUrl}?v=${generation}`,
    );
  }

  async run(call: Call): Promise<Outcome> {
    const loaded = this.#loaded;
    const startedAt = this.#clock.monotonic();
    if (!loaded) return failure('crash', 'function.crashed', 'the module has not been imported', 0);
    const { invocation } = call;
    try {
      const context = new InlineContext(call, this.settings, this.#log, this.#clock);
      const answer = loaded.fetches
        ? answerOfResponse(await loaded.handle(requestOf(invocation, webBody(invocation.body), call.signal), context))
        : answerOf(await loaded.handle(await eventOf(call, this.settings.maxBody), context));
      const { status, headers, body } = answer;
      const whole = body === null || typeof body === 'string' || body instanceof Uint8Array;
      return {
        status,
        headers,
        body: whole ? body : Readable.from(body, { objectMode: false }),
        durationMs: this.#clock.monotonic() - startedAt,
        failure: undefined,
        error: undefined,
      };
    } catch (error) {
      const durationMs = this.#clock.monotonic() - startedAt;
      if (error instanceof RangeError && error.message.startsWith('the body is longer')) {
        return failure('refused', 'limit.body', error.message, durationMs);
      }
      const code = error instanceof BadResponse ? 'function.bad-response' : 'function.failed';
      return failure(undefined, code, messageOf(error), durationMs);
    }
  }
}

/** The signal and the deadline are made only if the function asks for them. */
class InlineContext implements FunctionContext {
  readonly function: string;
  readonly attempt: number;
  readonly log: FunctionLog;
  readonly env: FunctionContext['env'];
  readonly #call: Call;
  readonly #clock: Clock;

  constructor(call: Call, settings: PoolSettings, log: FunctionLog, clock: Clock) {
    this.function = settings.function;
    this.attempt = call.invocation.attempt;
    this.log = log;
    this.env = settings.env;
    this.#call = call;
    this.#clock = clock;
  }

  get deadline(): number {
    return this.#clock.now() + (this.#call.deadline - this.#clock.monotonic());
  }

  get signal(): AbortSignal {
    return this.#call.signal;
  }
}

function eventOf({ invocation }: Call, maxBody: number): Event | Promise<Event> {
  const { body } = invocation;
  if (body === null || body instanceof Uint8Array) return new Event(invocation, body);
  return collect(body, maxBody).then((bytes) => new Event(invocation, bytes));
}

function webBody(body: Call['invocation']['body']): Uint8Array | ReadableStream | null {
  return body instanceof Readable ? (Readable.toWeb(body) as unknown as ReadableStream) : body;
}
