import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { createServer, type Server, type Socket } from 'node:net';
import { freePorts } from './brokers/ports.ts';

/** The server that a `line` connection of test/support/plugins dials: it says its first line, and keeps the socket. */
export class LineServer implements AsyncDisposable {
  readonly port: number;
  /** What it was told, on all sockets. */
  readonly lines: string[] = [];
  readonly #hello: string;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;

  private constructor(port: number, hello: string) {
    this.port = port;
    this.#hello = hello;
  }

  /** On a free port, not listening yet. */
  static async make(hello: string): Promise<LineServer> {
    const [port = 0] = await freePorts(1);
    return new LineServer(port, hello);
  }

  static async start(hello: string): Promise<LineServer> {
    const server = await LineServer.make(hello);
    await server.listen();
    return server;
  }

  get connections(): number {
    return this.#sockets.size;
  }

  async listen(): Promise<void> {
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => undefined); // The other side may go as it likes.
      createInterface({ input: socket }).on('line', (line) => this.lines.push(line));
      socket.write(`${this.#hello}\n`);
    });
    this.#server.listen(this.port, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  async close(): Promise<void> {
    const server = this.#server;
    if (!server) return;
    this.#server = undefined;
    const closed = once(server, 'close');
    server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
