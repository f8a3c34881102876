import { Readable } from 'node:stream';
import { errors, type Dispatcher } from 'undici';
import type { Clock } from '../../contracts/clock.ts';
import type { ErrorCode } from '../../contracts/errors.ts';
import type { Body, FailureClass, Headers, Outcome } from '../../contracts/invocation.ts';
import type { Call, CallWatcher } from '../../contracts/provider.ts';
import { planted } from '../../delivery/failpoint.ts';
import { failed } from '../outcome.ts';
import { AnswerBody, answerHeaders, type ReceivedHeaders } from './answer.ts';
import { passes } from './passing.ts';
import { lengthOf, requestHeaders, SentBody, targetOf } from './request.ts';
import type { Upstream, Upstreams } from './upstreams.ts';

/** For the chaos kit only: what may have been done is sent again. */
const repeatsAll = planted('repeat-sent-call');
/** May be done twice without harm (RFC 9110 §9.2.2). */
const idempotent: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE']);
/** How the client tells of a connection that has ended. */
const connectionLost: ReadonlySet<string> = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE']);
/** How it tells of bytes that are no answer, or no whole one. */
const notAnAnswer: ReadonlySet<string> = new Set([
  'HTTPParserError',
  'UND_ERR_HEADERS_OVERFLOW',
  'UND_ERR_RES_CONTENT_LENGTH_MISMATCH',
]);
const nothing = new Uint8Array(0);
/** Thrown when a request is about to be written: its connection then stays for the next one. */
const unwanted = new Error('nobody waits for the answer any more');

/** One attempt: it is answered once, and its upstream given back once. */
export class Attempt implements CallWatcher, Dispatcher.DispatchHandler {
  readonly #call: Call;
  readonly #upstreams: Upstreams;
  readonly #clock: Clock;
  readonly #resolve: (outcome: Outcome) => void;
  readonly #startedAt: number;
  /** The request's body; its bytes, where all of them were there when it began. */
  #body: Body;
  #sent: SentBody | undefined;
  #upstream: Upstream | undefined;
  #tried: Upstream[] | undefined;
  /** Set once the request is being written. */
  #controller: Dispatcher.DispatchController | undefined;
  /** The first byte of an answer has come. */
  #answering = false;
  #repeated = false;
  #settled = false;
  #status = 0;
  #headers: Headers = {};
  /** What has come of an answer before anybody could know whether it streams. */
  readonly #chunks: Buffer[] = [];
  #stream: AnswerBody | undefined;

  constructor(call: Call, upstreams: Upstreams, clock: Clock, resolve: (outcome: Outcome) => void) {
    this.#call = call;
    this.#upstreams = upstreams;
    this.#clock = clock;
    this.#resolve = resolve;
    this.#startedAt = clock.monotonic();
    this.#body = call.invocation.body;
  }

  begin(): void {
    this.#call.watch(this);
    const body = this.#body;
    if (!(body instanceof Readable)) return this.#send();
    body.on('error', ignored); // It may break off before anybody reads it.
    // What came together with the head is in the stream as soon as the parser has done with it.
    queueMicrotask(() => {
      const length = lengthOf(this.#call.invocation.headers);
      if (length !== undefined && body.readableLength === length) this.#body = body.read() as Buffer | null;
      this.#send();
    });
  }

  aborted({ name, message }: DOMException): void {
    if (name === 'TimeoutError' || this.#clock.monotonic() >= this.#call.deadline) {
      this.#fail('timeout', 'function.timeout', 'the function did not answer within its timeout');
    } else {
      this.#fail('cancelled', 'invocation.cancelled', message);
    }
    this.#stream?.destroy(new Error(message));
    this.#controller?.abort(unwanted);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    if (this.#settled) throw unwanted;
    this.#controller = controller;
  }

  onResponseStarted(): void {
    this.#answering = true;
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, headers: ReceivedHeaders): void {
    if (status < 200) return; // Early hints speak of another host's pages.
    this.#status = status;
    this.#headers = answerHeaders(headers);
    // What has come by then, in one piece with its head, is an answer in one piece; all else streams.
    queueMicrotask(() => this.#streamFrom(controller));
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.#stream) this.#chunks.push(chunk);
    else {
      passes(chunk);
      if (!this.#stream.push(chunk)) controller.pause();
    }
  }

  onResponseEnd(): void {
    this.#end();
    if (this.#stream) this.#stream.push(null);
    else this.#answer(this.#hasBody() ? joined(this.#chunks) : null);
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    const upstream = this.#upstream;
    if (upstream && !this.#settled && this.#mayRepeat(error)) {
      this.#repeated = true;
      this.#controller = undefined;
      return this.#dispatch(upstream, true);
    }
    if (this.#settled || this.#controller || error instanceof errors.InvalidArgumentError) {
      this.#end();
      if (this.#stream) this.#stream.destroy(error);
      else this.#broken(error);
      return;
    }
    // It was never sent: somebody else may have it.
    upstream?.refused(error);
    if (upstream) (this.#tried ??= []).push(upstream);
    this.#giveBack();
    this.#send(error);
  }

  /** To the next upstream; `error`: what kept the one before from getting it. */
  #send(error?: Error): void {
    if (this.#settled) return this.#end();
    const upstream = this.#upstreams.take(this.#tried);
    if (upstream) {
      this.#upstream = upstream;
      this.#dispatch(upstream, false);
      return;
    }
    this.#end();
    if (error) return this.#broken(error);
    const { retryAfterSeconds } = this.#upstreams;
    this.#settle(
      failed(
        'overload',
        { code: 'function.not-ready', message: 'none of the upstreams of the function is ready', retryAfterSeconds },
        this.#tookMs(),
      ),
    );
  }

  #dispatch(upstream: Upstream, fresh: boolean): void {
    const { invocation } = this.#call;
    const path = targetOf(upstream.basePath, invocation);
    if (path === undefined) {
      this.#end();
      return this.#fail('refused', 'request.invalid', 'the path leads out of that of the function');
    }
    const headers = requestHeaders(invocation, this.#upstreams.headers);
    let body = this.#body;
    if (body instanceof Readable) {
      const length = lengthOf(invocation.headers);
      if (length !== undefined) headers.push('content-length', String(length));
      body = this.#sent = new SentBody(body);
    }
    const request = { path, method: invocation.method, headers, body };
    if (fresh) upstream.dispatchFresh(request, this);
    else upstream.dispatch(request, this);
  }

  /**
   * A connection that was kept alive may end just when it is used again. Only what changes nothing when it is done
   * twice is sent again, and only without a body, since that may have been read.
   */
  #mayRepeat({ code }: Error & { readonly code?: string }): boolean {
    if (!this.#controller || this.#answering || this.#repeated || this.#body !== null) return false;
    const isHarmless = idempotent.has(this.#call.invocation.method) || repeatsAll;
    return isHarmless && connectionLost.has(code ?? '');
  }

  #streamFrom(controller: Dispatcher.DispatchController): void {
    if (this.#settled) return;
    const stream = new AnswerBody(controller);
    this.#stream = stream;
    for (const chunk of this.#chunks) if (!stream.push(chunk)) controller.pause();
    this.#answer(stream);
  }

  #hasBody(): boolean {
    return this.#call.invocation.method !== 'HEAD' && this.#status !== 204 && this.#status !== 304;
  }

  #answer(body: Body): void {
    this.#settle({
      status: this.#status,
      headers: this.#headers,
      body,
      durationMs: this.#tookMs(),
      failure: undefined,
      error: undefined,
    });
  }

  /** Without a whole answer. The caller is not told where the function runs. */
  #broken(error: Error & { readonly code?: string }): void {
    if (this.#sent?.errored) return this.#fail('refused', 'request.invalid', 'the body of the request broke off');
    if (error instanceof errors.InvalidArgumentError) return this.#fail('refused', 'request.invalid', error.message);
    const reason = error.code ?? error.name;
    if (notAnAnswer.has(reason)) {
      return this.#fail('connection', 'function.bad-response', `what came was not an answer (${reason})`);
    }
    const what = this.#controller ? 'the connection to the function broke off' : 'the function cannot be reached';
    this.#fail('connection', 'function.unreachable', `${what} (${reason})`);
  }

  #fail(failure: FailureClass, code: ErrorCode, message: string): void {
    if (!this.#settled) this.#settle(failed(failure, { code, message }, this.#tookMs()));
  }

  #settle(outcome: Outcome): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#resolve(outcome);
  }

  /** Nothing more will come of it. */
  #end(): void {
    this.#giveBack();
    this.#sent?.destroy();
    // Not destroyed: the answer goes over its connection.
    if (this.#body instanceof Readable) this.#body.resume();
  }

  #giveBack(): void {
    if (this.#upstream) this.#upstreams.giveBack(this.#upstream);
    this.#upstream = undefined;
  }

  #tookMs(): number {
    return this.#clock.monotonic() - this.#startedAt;
  }
}

function ignored(): void {}

function joined(chunks: readonly Buffer[]): Uint8Array {
  const [only = nothing] = chunks;
  return chunks.length > 1 ? Buffer.concat(chunks) : only;
}
