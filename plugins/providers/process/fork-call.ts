import { Readable } from 'node:stream';
import { messageOf } from '../../../core/contracts/errors.ts';
import type { Outcome } from '../../../core/contracts/invocation.ts';
import type { Call, CallWatcher } from '../../../core/contracts/provider.ts';
import { headerOf } from '../../../core/kit/headers.ts';
import { failed } from '../../../core/kit/outcome.ts';
import { type Ending, endingText, ProcessGroup } from './group.ts';
import { eachLine } from './lines.ts';
import { abortedOutcome, type RunnerOwner } from './runner.ts';
import type { FunctionSettings } from './settings.ts';
import { requestVariables } from './variables.ts';

/**
 * One call as a process of its own: the body on its stdin, its stdout the answer. In mode `fork` the answer is whole, and
 * an exit code makes it an error; in mode `streaming` it goes out as it is written.
 */
export class ForkCall implements CallWatcher {
  readonly outcome: Promise<Outcome>;
  /** Resolves when the process has ended as well. */
  readonly ended: Promise<void>;
  readonly #call: Call;
  readonly #settings: FunctionSettings;
  readonly #owner: RunnerOwner;
  readonly #startedAt: number;
  readonly #resolve: (outcome: Outcome) => void;
  #group: ProcessGroup | undefined;
  /** Of mode `fork`. */
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  /** Of mode `streaming`, once there is an answer. */
  #answer: Readable | undefined;
  #isAnswered = false;

  constructor(call: Call, settings: FunctionSettings, owner: RunnerOwner) {
    this.#call = call;
    this.#settings = settings;
    this.#owner = owner;
    this.#startedAt = owner.clock.monotonic();
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    this.outcome = promise;
    this.#resolve = resolve;
    call.watch(this);
    this.ended = this.#run();
  }

  aborted(reason: DOMException): void {
    this.#settle(abortedOutcome(reason, this.#elapsedMs()));
    this.#answer?.destroy(new Error(reason.message));
    this.#group?.end();
  }

  kill(): void {
    const message = 'the gateway stopped before the function had answered';
    this.#settle(failed('cancelled', { code: 'gateway.stopping', message }, this.#elapsedMs()));
    this.#answer?.destroy(new Error(message));
    this.#group?.kill();
  }

  async #run(): Promise<void> {
    const { invocation } = this.#call;
    const group = this.#isAnswered ? undefined : this.#begin(); // It may have been aborted before it came here.
    if (!group) {
      this.#discardBody();
      return;
    }
    this.#group = group;
    const log = (text: string): void => this.#owner.log(group.pid, text, invocation.callId);
    const { prefixLogs, writeDebug } = this.#settings;
    eachLine(group.stderr, (line) => log(prefixLogs ? `stderr: ${line}` : line));
    if (writeDebug) eachLine(group.stdout, log);
    group.stdout.on('data', (chunk: Buffer) => this.#take(chunk));
    this.#send(group);
    const ending = await group.closed;
    this.#discardBody();
    this.#finish(ending);
    const duration = `Duration: ${(this.#elapsedMs() / 1000).toFixed(6)}s`;
    if (ending.code === 0) log(writeDebug ? duration : `Wrote ${this.#bytes} Bytes - ${duration}`);
  }

  /** Undefined when it could not be begun; then the call has been answered. */
  #begin(): ProcessGroup | undefined {
    const { env, cgiHeaders } = this.#settings;
    const { invocation } = this.#call;
    try {
      // What the operator says goes over what a caller says.
      const all = cgiHeaders ? { ...requestVariables(invocation), ...env } : env;
      return new ProcessGroup(this.#settings, all, this.#owner.reaper);
    } catch (error) {
      const isTooBig = (error as NodeJS.ErrnoException).code === 'E2BIG';
      const outcome = isTooBig
        ? failed(
            'refused',
            { code: 'request.invalid', message: 'the headers are larger than a process can be given' },
            0,
          )
        : failed('crash', { code: 'function.crashed', message: `it could not be started: ${messageOf(error)}` }, 0);
      this.#settle(outcome);
      return undefined;
    }
  }

  #send({ stdin }: ProcessGroup): void {
    const { body } = this.#call.invocation;
    if (!(body instanceof Readable)) {
      stdin.end(body ?? undefined);
      return;
    }
    body.on('error', () => undefined); // Told by `close`, which also comes without an error.
    body.once('close', () => {
      if (!body.readableEnded) this.#brokeOff();
    });
    if (body.destroyed && !body.readableEnded) this.#brokeOff();
    body.pipe(stdin);
    // A process that does not read, or no further, is no reason to keep the sender waiting.
    stdin.once('close', () => this.#discardBody());
  }

  #brokeOff(): void {
    const message = 'the body broke off';
    this.#settle(failed('cancelled', { code: 'invocation.client-gone', message }, this.#elapsedMs()));
    this.#answer?.destroy(new Error(message));
    this.#group?.end();
  }

  /** Read to its end, not destroyed: a request's stream is its connection, on which the answer is still to be written. */
  #discardBody(): void {
    const { body } = this.#call.invocation;
    if (!(body instanceof Readable)) return;
    body.on('error', () => undefined);
    body.unpipe();
    body.resume();
  }

  #take(chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#answer) this.#push(this.#answer, chunk);
    else if (!this.#isAnswered) {
      if (this.#settings.mode === 'streaming') this.#stream(chunk);
      else this.#keep(chunk);
    }
  }

  #keep(chunk: Buffer): void {
    const { maxOutput } = this.#settings;
    if (this.#bytes <= maxOutput) this.#chunks.push(chunk);
    else {
      const message = `the answer is larger than ${maxOutput} bytes (maxOutput)`;
      this.#settle(failed(undefined, { code: 'function.bad-response', message }, this.#elapsedMs()));
      this.#group?.end();
    }
  }

  /** Its first bytes have come: it is answered. */
  #stream(chunk: Buffer): void {
    const stdout = this.#group?.stdout;
    const answer = new Readable({
      read: () => void stdout?.resume(),
      destroy: (error, done) => {
        stdout?.resume();
        this.#group?.end(); // Nobody reads it any more. After the last chunk this finds nothing to end.
        done(error);
      },
    });
    answer.on('error', () => undefined); // Whoever reads it is told as well.
    this.#answer = answer;
    this.#settle(this.#good(answer));
    this.#push(answer, chunk);
  }

  #push(answer: Readable, chunk: Buffer): void {
    if (!answer.destroyed && !answer.push(chunk)) this.#group?.stdout.pause();
  }

  #finish(ending: Ending): void {
    if (this.#answer && !this.#answer.destroyed) {
      if (ending.code === 0) this.#answer.push(null);
      else this.#answer.destroy(new Error(`the process ended with ${endingText(ending)}`));
    }
    if (this.#isAnswered) return;
    const output = Buffer.concat(this.#chunks);
    if (ending.code === 0) this.#settle(this.#good(output));
    else if (ending.code === null) {
      const message = `the process ended without an answer: ${endingText(ending)}`;
      this.#settle(failed('crash', { code: 'function.crashed', message }, this.#elapsedMs()));
    } else {
      const text = endingText(ending);
      this.#settle({
        ...this.#good(Buffer.concat([Buffer.from(`${text}\n`), output])),
        status: 500,
        headers: { 'content-type': 'text/plain; charset=utf-8' },
        error: { code: 'function.failed', message: withReason(text, output) },
      });
    }
  }

  #good(body: Buffer | Readable): Outcome {
    const { invocation } = this.#call;
    const type = this.#settings.contentType ?? headerOf(invocation.headers, 'content-type');
    const headers: Outcome['headers'] = type === undefined ? {} : { 'content-type': type };
    return { status: 200, headers, body, durationMs: this.#elapsedMs(), failure: undefined, error: undefined };
  }

  #elapsedMs(): number {
    return this.#owner.clock.monotonic() - this.#startedAt;
  }

  #settle(outcome: Outcome): void {
    if (this.#isAnswered) return;
    this.#isAnswered = true;
    this.#resolve(outcome);
  }
}

/**
 * What a program says last tells why it failed, of a traceback the exception: so that line goes first, where a list shows it,
 * and then as much as a dead letter keeps of all.
 */
function withReason(ending: string, output: Buffer): string {
  const said = output.subarray(-1000).toString().trim();
  if (said === '') return ending;
  const last = said.slice(said.lastIndexOf('\n') + 1);
  return last === said ? `${ending}: ${said}` : `${ending}: ${last}\n${said}`;
}
