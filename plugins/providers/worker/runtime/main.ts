import { parentPort, receiveMessageOnPort, type MessagePort } from 'node:worker_threads';
import {
  fromThread,
  toThread,
  type CallMessage,
  type FromThread,
  type Tell,
  type ThreadStart,
  type ToThread,
} from '../protocol.ts';
import { Claims } from '../claims.ts';
import { ThreadCall } from './call.ts';
import { load, type Loaded } from './load.ts';
import { currentCall, Output } from './output.ts';

/** So many calls may follow each other without the event loop's turn: timers and sockets of the function want theirs. */
const callsPerTurn = 32;
/** So long may an idle thread sleep without its event loop's turn, ms. */
const napMs = 1;

/** The thread's own side: imports the module and runs calls of it until the host ends the thread. */
class ThreadMain {
  readonly #port: MessagePort;
  readonly #tell: Tell;
  readonly #start: ThreadStart;
  readonly #loaded: Loaded;
  readonly #output: Output;
  readonly #calls = new Map<number, ThreadCall>();
  readonly #claims: Claims;
  /** Calls that came ahead: as many run as may. */
  readonly #ahead: CallMessage[] = [];
  #callsThisTurn = 0;

  constructor(start: ThreadStart, tell: Tell, loaded: Loaded, output: Output) {
    this.#port = start.port;
    this.#tell = tell;
    this.#start = start;
    this.#loaded = loaded;
    this.#output = output;
    this.#claims = new Claims(start.claims);
  }

  listen(): void {
    this.#port.on('message', (message: ToThread) => {
      this.#callsThisTurn = 0;
      this.#receive(message);
    });
    this.#tell([fromThread.ready, 0, this.#loaded.fetches]);
  }

  #receive(message: ToThread): void {
    if (message[0] === toThread.call) {
      if (this.#calls.size >= this.#start.perThread) this.#ahead.push(message);
      else if (this.#claims.begin(message[1])) void this.#run(message);
      return;
    }
    const call = this.#calls.get(message[1]);
    if (!call) return; // It has ended meanwhile.
    switch (message[0]) {
      case toThread.abort:
        call.abort(message[2], message[3]);
        this.#tell([fromThread.aborting, call.number]);
        return;
      case toThread.chunk:
        call.requestBody?.push(message[2]);
        return;
      case toThread.end:
        call.requestBody?.end();
        return;
      case toThread.broken:
        call.requestBody?.fail(message[2]);
        return;
      case toThread.credit:
        call.credit(message[2]);
    }
  }

  /** Never rejects: whatever the function does is told to the host. */
  async #run(message: CallMessage): Promise<void> {
    const call = new ThreadCall(this.#tell, message, this.#start, this.#output.log);
    this.#calls.set(call.number, call);
    try {
      await currentCall.run(call, call.run, this.#loaded);
    } finally {
      this.#output.flush();
      this.#calls.delete(call.number);
    }
    // The next call has often come already, or comes at once; taking it here saves the way through the event loop.
    const turn = ++this.#callsThisTurn >= callsPerTurn;
    for (let next = this.#ahead.shift(); next; next = this.#ahead.shift()) {
      if (!this.#claims.begin(next[1])) continue;
      if (turn) setImmediate(() => this.#resume(next));
      else void this.#run(next);
      return;
    }
    if (turn || this.#calls.size > 0) return;
    const next = this.#nextMessage();
    if (next) this.#receive(next.message as ToThread);
  }

  #resume(message: CallMessage): void {
    this.#callsThisTurn = 0;
    void this.#run(message);
  }

  /** What the host has posted, or posts within a moment: being woken from this sleep costs half of what a poll does. */
  #nextMessage(): { readonly message: unknown } | undefined {
    const seen = Atomics.load(this.#start.posted, 0);
    const next = receiveMessageOnPort(this.#port);
    if (next) return next;
    Atomics.wait(this.#start.posted, 0, seen, napMs);
    return receiveMessageOnPort(this.#port);
  }
}

parentPort?.once('message', (start: ThreadStart) => {
  const tell = (message: FromThread): void => start.port.postMessage(message, []);
  const output = new Output(tell);
  output.capture();
  load(start.module).then(
    (loaded) => new ThreadMain(start, tell, loaded, output).listen(),
    (error: Error) => tell([fromThread.failed, 0, error.message]),
  );
});
