import { Readable } from 'node:stream';
import type { Clock } from '../../../core/contracts/clock.ts';
import type { Linked } from '../../../core/contracts/delivery.ts';
import type { ErrorCode } from '../../../core/contracts/errors.ts';
import type { Body, FailureClass, Outcome } from '../../../core/contracts/invocation.ts';
import type { Call, CallWatcher } from '../../../core/contracts/provider.ts';
import { failed } from '../../../core/kit/outcome.ts';
import { headerRecord, postable, toThread, streamed, windowBytes, type HeaderList, type ToThread } from './protocol.ts';
import { drain, sendBody, type Sending } from './send-body.ts';

/** What an attempt asks of the thread that it runs in. */
export interface AttemptThread {
  post(message: ToThread): void;
  /** The attempt is not wanted any more: it has the grace to end, if it was begun at all. */
  abandon(attempt: Attempt, message: string, timeout: boolean): void;
}

/** What an attempt asks of whoever let it wait. */
export interface WaitingRoom {
  /** It was aborted before a thread was free for it. */
  left(attempt: Attempt): void;
}

/** One attempt, on the host's side: it is answered once, and its streams end with it. */
export class Attempt implements CallWatcher, Linked {
  previous: Linked['previous'] = undefined;
  next: Linked['next'] = undefined;
  /** Its number in the thread that it was given to. */
  number = 0;
  readonly call: Call;
  /** The invocation's body; of a short stream, its bytes once they have come. */
  body: Body;
  readonly startedAt: number;
  /** It is in the queue for a thread. */
  queued = false;
  /** Resolved; what may still come of it is the rest of a stream. */
  answered = false;
  /** Aborted: whatever the thread says of it is of no interest. */
  abandoned = false;
  /** The thread has noticed the abort, so its event loop turns. */
  acknowledged = false;
  graceTimer: NodeJS.Timeout | undefined = undefined;
  readonly #clock: Clock;
  readonly #room: WaitingRoom;
  readonly #resolve: (outcome: Outcome) => void;
  #thread: AttemptThread | undefined;
  #response: Readable | undefined;
  #sending: Sending | undefined;
  /** Bytes of the answer that have been taken, and that the thread has not been told of. */
  #taken = 0;
  #flowing = true;
  /** Ended, streams and all: an abort that comes now is of no interest. */
  #over = false;

  constructor(call: Call, clock: Clock, startedAt: number, room: WaitingRoom, resolve: (outcome: Outcome) => void) {
    this.call = call;
    this.body = call.invocation.body;
    this.startedAt = startedAt;
    this.#clock = clock;
    this.#room = room;
    this.#resolve = resolve;
    // A body may break off while it waits; without a listener that would end the process.
    if (this.body instanceof Readable) this.body.on('error', () => undefined);
  }

  /** Sends it to the thread. */
  begin(thread: AttemptThread, number: number, wallDeadline: number, headers: HeaderList): void {
    this.#thread = thread;
    this.number = number;
    const { body } = this;
    const { id, callId, method, path, query, attempt } = this.call.invocation;
    const wire = body === null ? null : body instanceof Uint8Array ? postable(body) : streamed;
    thread.post([toThread.call, this.number, id, callId, method, path, query, headers, wire, attempt, wallDeadline]);
    if (body instanceof Readable) this.#sending = sendBody(body, this.number, thread);
  }

  /** Nobody wants it any more. After its end there is nothing left to abandon. */
  aborted({ message, name }: DOMException): void {
    if (this.#over) return;
    const timeout = name === 'TimeoutError' || this.#clock.monotonic() >= this.call.deadline;
    this.#abandon(message, timeout);
    if (timeout) this.fail('timeout', 'function.timeout', 'the function did not answer within its timeout');
    else this.fail('cancelled', 'invocation.cancelled', message);
  }

  answer(status: number, headers: HeaderList, body: Uint8Array | string | null): void {
    this.#settle({
      status,
      headers: headerRecord(headers),
      body,
      durationMs: this.#clock.monotonic() - this.startedAt,
      failure: undefined,
      error: undefined,
    });
  }

  /** The answer streams: its chunks follow. */
  head(status: number, headers: HeaderList): void {
    if (this.answered) return;
    this.#response = new Readable({
      highWaterMark: windowBytes / 4,
      read: () => this.#takeMore(),
      destroy: (error, done) => {
        // Destroyed by the reader: the client has gone. After the last chunk this finds nothing to abandon.
        this.#abandon('nobody reads the answer any more', false);
        done(error);
      },
    });
    this.#response.on('error', () => undefined); // Whoever reads it is told as well; nobody may, by then.
    this.#settle({
      status,
      headers: headerRecord(headers),
      body: this.#response,
      durationMs: this.#clock.monotonic() - this.startedAt,
      failure: undefined,
      error: undefined,
    });
  }

  chunk(bytes: Uint8Array): void {
    const response = this.#response;
    if (!response || response.destroyed) return;
    this.#taken += bytes.byteLength;
    this.#flowing = response.push(bytes);
    if (this.#flowing) this.#takeMore();
  }

  /** The last chunk has come. */
  end(): void {
    this.#response?.push(null);
  }

  /** Ends it without an answer; a stream that has begun breaks off. */
  fail(failureClass: FailureClass | undefined, code: ErrorCode, message: string): void {
    this.#settle(failed(failureClass, { code, message }, this.#clock.monotonic() - this.startedAt));
    this.#letGo();
    if (this.#response && !this.#response.readableEnded) this.#response.destroy(new Error(message));
  }

  /** The thread has read so much of the request. */
  credit(bytes: number): void {
    this.#sending?.credit(bytes);
  }

  /** The thread will not read the rest of the request. */
  unread(): void {
    this.#sending?.stop();
  }

  /** Its thread had not begun it: it may be given to another one. */
  takenBack(): void {
    this.#thread = undefined;
    this.number = 0;
  }

  /** The thread is done with it, or dead: nothing more will come. */
  close(): void {
    clearTimeout(this.graceTimer);
    this.#thread = undefined;
    this.#letGo();
  }

  #letGo(): void {
    this.#over = true;
    if (this.#sending) this.#sending.stop();
    else if (this.body instanceof Readable) drain(this.body);
  }

  #abandon(message: string, timeout: boolean): void {
    if (this.abandoned) return;
    const thread = this.#thread;
    if (!thread) {
      if (!this.answered) this.#room.left(this);
      return;
    }
    this.abandoned = true;
    thread.abandon(this, message, timeout);
  }

  #settle(outcome: Outcome): void {
    if (this.answered) return;
    this.answered = true;
    this.#resolve(outcome);
  }

  #takeMore(): void {
    this.#flowing = true;
    // Told in quarters of the window: a message for each chunk would double the traffic.
    if (this.#taken < windowBytes / 4) return;
    this.#thread?.post([toThread.credit, this.number, this.#taken]);
    this.#taken = 0;
  }
}
