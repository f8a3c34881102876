import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** A port through which an API server is reached, and which can be shut: the server itself goes on. */
export class Gate implements AsyncDisposable {
  readonly #port: number;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  port = 0;

  private constructor(port: number) {
    this.#port = port;
  }

  /** In front of that port of 127.0.0.1. */
  static async open(port: number): Promise<Gate> {
    const gate = new Gate(port);
    await gate.open();
    return gate;
  }

  async open(): Promise<void> {
    if (this.#server) return;
    const server = createServer((socket) => this.#join(socket, connect(this.#port, '127.0.0.1')));
    server.listen(this.port, '127.0.0.1');
    await once(server, 'listening');
    this.port = (server.address() as { port: number }).port;
    this.#server = server;
  }

  /** Breaks off what goes through it, and refuses what comes. */
  async shut(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (!server) return;
    const closed = once(server, 'close');
    server.close();
    this.breakOff();
    await closed;
  }

  /** Breaks off what goes through it; what comes next goes through. */
  breakOff(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.shut();
  }

  #join(near: Socket, far: Socket): void {
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(one);
      one.on('error', () => undefined); // Told to the other side by its end.
      one.on('close', () => {
        this.#sockets.delete(one);
        other.destroy();
      });
    }
    near.pipe(far);
    far.pipe(near);
  }
}
