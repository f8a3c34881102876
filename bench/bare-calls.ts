import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** What a server said: what it is to say is the caller's to know. */
export interface BareAnswer {
  readonly status: number;
  readonly body: Buffer;
}

interface Connection {
  readonly socket: Socket;
  /** The beginning of an answer whose end has not come yet. */
  begun: Buffer | undefined;
  answered: ((answer: BareAnswer) => void) | undefined;
  failed: ((error: Error) => void) | undefined;
}

const headEnd = Buffer.from('\r\n\r\n');

/**
 * POST requests that are all the same, each on a connection of its own while it lasts, over bare sockets: a client library takes as
 * much CPU for a call as a gateway that accepts it, and what is late at the caller would count as the server's.
 */
export class BareCalls {
  readonly #url: URL;
  readonly #request: Buffer;
  readonly #idle: Connection[] = [];
  readonly #all: Socket[] = [];

  constructor(url: string, path: string, body: Buffer) {
    this.#url = new URL(url);
    const head = `POST ${path} HTTP/1.1\r\nhost: ${this.#url.host}\r\ncontent-type: text/plain\r\ncontent-length: ${body.byteLength}`;
    this.#request = Buffer.concat([Buffer.from(head), headEnd, body]);
  }

  /** Opens so many connections; more are opened while all of them wait for an answer. */
  async open(count: number): Promise<void> {
    for (let opened = 0; opened < count; opened++) {
      const connection = this.#connected();
      await once(connection.socket, 'connect');
      this.#idle.push(connection);
    }
  }

  /** Rejects when the connection ends, or the answer does not say how long it is. */
  call(): Promise<BareAnswer> {
    // The one that was used last: those that a burst has needed stay out of the way.
    const connection = this.#idle.pop() ?? this.#connected();
    return new Promise((resolve, reject) => {
      connection.answered = resolve;
      connection.failed = reject;
      connection.socket.write(this.#request);
    });
  }

  close(): void {
    for (const socket of this.#all) socket.destroy();
  }

  #connected(): Connection {
    const { hostname: host, port } = this.#url;
    const socket = connect({ host, port: Number(port), noDelay: true });
    const connection: Connection = { socket, begun: undefined, answered: undefined, failed: undefined };
    socket.on('data', (bytes: Buffer) => this.#read(connection, bytes));
    socket.on('error', (error) => connection.failed?.(error));
    socket.on('close', () => connection.failed?.(new Error('the server closed the connection')));
    this.#all.push(socket);
    return connection;
  }

  #read(connection: Connection, bytes: Buffer): void {
    const all = connection.begun ? Buffer.concat([connection.begun, bytes]) : bytes;
    connection.begun = all;
    const bodyAt = all.indexOf(headEnd) + headEnd.byteLength;
    if (bodyAt < headEnd.byteLength) return;
    const head = all.toString('latin1', 0, bodyAt);
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
    if (length === undefined) return connection.failed?.(new Error(`an answer without a length: ${head}`));
    const end = bodyAt + Number(length);
    if (all.byteLength < end) return;
    const { answered } = connection;
    connection.begun = undefined;
    this.#idle.push(connection);
    answered?.({ status: Number(head.slice(9, 12)), body: all.subarray(bodyAt, end) });
  }
}
