import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { setImmediate as turn, setTimeout as delay } from 'node:timers/promises';

/** `up`: from who dials to who is dialled; `down`: back. */
export const directions = ['up', 'down'] as const;
export type Direction = (typeof directions)[number];

/**
 * What bytes of one direction meet, from when it is set until it is taken away, on all connections, those that live too.
 * `black-hole`: they are taken, and arrive only once it is gone, as TCP would send them again. `slicer`: one by one.
 * `bandwidth`: so many in a second.
 */
export type Toxic =
  | { readonly kind: 'latency'; readonly ms: number; readonly jitterMs: number }
  | { readonly kind: 'black-hole' }
  | { readonly kind: 'slicer' }
  | { readonly kind: 'bandwidth'; readonly bytesPerSecond: number };

/**
 * What ends each connection that lives, once, for whom bytes of that direction go to. `reset`: RST; the other side learns
 * nothing, and its bytes go nowhere. `half-close`: FIN, and what was held up is dropped; the other direction lives on.
 */
export type Break = 'reset' | 'half-close';

/** One side may be ahead of the other by so many bytes; then it is no longer read, as where the buffers of sockets are full. */
const mostHeld = 4 * 2 ** 20;
/** A limited bandwidth is given in pieces of so long, ms. */
const pieceMs = 10;

/** A network that fails: a TCP proxy on a free port of 127.0.0.1. */
export class FaultProxy implements AsyncDisposable {
  readonly #random: () => number;
  readonly #server: Server;
  readonly #links = new Set<Link>();
  readonly #toxics: Record<Direction, Toxic | undefined> = { up: undefined, down: undefined };
  #target: number;

  private constructor(target: number, random: () => number) {
    this.#target = target;
    this.#random = random;
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));
  }

  /** Listens, in front of that port of 127.0.0.1. `random` draws the jitter; on `port`, or any. */
  static async open(target: number, random: () => number, port = 0): Promise<FaultProxy> {
    const proxy = new FaultProxy(target, random);
    proxy.#server.listen(port, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Connections that have not ended on both of their sides. */
  get connections(): number {
    return this.#links.size;
  }

  /** Where connections go that are made from now on. */
  set target(port: number) {
    this.#target = port;
  }

  /** Sets what bytes of that direction meet, instead of what they met before; without, nothing. */
  set(direction: Direction, toxic?: Toxic): void {
    this.#toxics[direction] = toxic;
    for (const link of this.#links) link.pipes[direction].toxic = toxic;
  }

  break(direction: Direction, how: Break): void {
    for (const { pipes } of this.#links) {
      if (how === 'reset') pipes[direction].reset();
      else pipes[direction].end();
    }
  }

  /** Takes away what was set, in both directions. */
  clear(): void {
    for (const direction of directions) this.set(direction);
  }

  /** Ends all connections, and takes no more. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const link of this.#links) link.destroy();
    await closed;
  }

  #accept(client: Socket): void {
    const server = connect({ port: this.#target, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    const link = new Link(client, server, this.#random);
    for (const direction of directions) link.pipes[direction].toxic = this.#toxics[direction];
    this.#links.add(link);
    void link.over.then(() => this.#links.delete(link));
  }
}

/** One connection: two sockets, and a pipe in each direction. */
class Link {
  readonly pipes: Readonly<Record<Direction, Pipe>>;
  readonly over: Promise<unknown>;
  readonly #sockets: readonly Socket[];

  constructor(client: Socket, server: Socket, random: () => number) {
    this.#sockets = [client, server];
    this.over = Promise.all(this.#sockets.map((socket) => new Promise((resolve) => socket.once('close', resolve))));
    this.pipes = { up: new Pipe(client, server, random), down: new Pipe(server, client, random) };
  }

  destroy(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** What was read and not yet passed on; the last one is how it ended. */
type Held = { readonly bytes: Buffer; readonly due: number } | 'end' | 'reset';

/** One direction of a connection: bytes of one socket, to the other one, by what they meet. */
class Pipe {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #random: () => number;
  readonly #held: Held[] = [];
  #heldBytes = 0;
  #toxic: Toxic | undefined;
  /** Ends whatever is waited for. */
  #changed = new AbortController();
  #isOver = false;

  constructor(from: Socket, to: Socket, random: () => number) {
    this.#from = from;
    this.#to = to;
    this.#random = random;
    from.on('data', (bytes: Buffer) => this.#read(bytes));
    from.on('end', () => {
      // Nobody is left who could end the other direction.
      if (to.destroyed) from.destroy();
      else this.#hold('end');
    });
    from.on('error', () => this.#hold('reset'));
    to.on('close', () => this.#finish());
    void this.#pump();
  }

  set toxic(toxic: Toxic | undefined) {
    this.#toxic = toxic;
    this.#wake();
  }

  reset(): void {
    this.#finish();
    this.#to.resetAndDestroy();
  }

  end(): void {
    this.#finish();
    this.#to.end();
  }

  /** From now on what comes is dropped. */
  #finish(): void {
    this.#isOver = true;
    this.#held.length = 0;
    this.#heldBytes = 0;
    this.#from.resume();
    this.#wake();
  }

  #read(bytes: Buffer): void {
    if (this.#isOver) return;
    const jitter = this.#toxic?.kind === 'latency' ? this.#toxic.ms + this.#random() * this.#toxic.jitterMs : 0;
    this.#heldBytes += bytes.byteLength;
    if (this.#heldBytes > mostHeld) this.#from.pause();
    this.#hold({ bytes, due: performance.now() + jitter });
  }

  #hold(one: Held): void {
    if (this.#isOver) return;
    this.#held.push(one);
    this.#wake();
  }

  #wake(): void {
    this.#changed.abort();
    this.#changed = new AbortController();
  }

  async #pump(): Promise<void> {
    while (!this.#isOver) {
      const [first] = this.#held;
      if (first === undefined || this.#toxic?.kind === 'black-hole') await this.#change();
      else if (first === 'reset') this.reset();
      else if (first === 'end') this.end();
      else if (first.due > performance.now()) await this.#change(first.due - performance.now());
      else await this.#pass(first.bytes);
    }
  }

  /** Resolves when there is something to look at again, or after so long. */
  async #change(ms?: number): Promise<void> {
    const { signal } = this.#changed;
    if (ms !== undefined) await delay(ms, undefined, { signal }).catch(() => undefined);
    else if (!signal.aborted) await once(signal, 'abort');
  }

  /** Passes on as much of the first piece as may go at once, and then waits as long as that takes. */
  async #pass(bytes: Buffer): Promise<void> {
    const toxic = this.#toxic;
    const most =
      toxic?.kind === 'slicer'
        ? 1
        : toxic?.kind === 'bandwidth'
          ? Math.ceil((toxic.bytesPerSecond * pieceMs) / 1000)
          : bytes.byteLength;
    const piece = bytes.subarray(0, most);
    const rest = bytes.subarray(piece.byteLength);
    if (rest.byteLength > 0) this.#held[0] = { bytes: rest, due: 0 };
    else this.#held.shift();
    this.#heldBytes -= piece.byteLength;
    if (this.#from.isPaused() && this.#heldBytes < mostHeld / 2) this.#from.resume();
    const isTaken = this.#to.write(piece);
    if (toxic?.kind === 'bandwidth') await this.#change((piece.byteLength / toxic.bytesPerSecond) * 1000);
    else if (toxic?.kind === 'slicer') await turn();
    if (!isTaken && this.#to.writableNeedDrain) await drained(this.#to);
  }
}

function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      socket.off('drain', done);
      socket.off('close', done);
      resolve();
    };
    socket.on('drain', done);
    socket.on('close', done);
  });
}
