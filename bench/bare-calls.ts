import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** What a server said: what it is to say is the caller's to know. */
export interface BareAnswer {
  readonly status: number;
  readonly body: Buffer;
}

interface Call {
  readonly answered: (answer: BareAnswer) => void;
  readonly failed: (error: Error) => void;
}

interface Connection {
  readonly socket: Socket;
  /** The beginning of an answer whose end has not come yet. */
  begun: Buffer | undefined;
  call: Call | undefined;
}

/** More calls wait for one of them: fewer than a gateway takes in flight, which would refuse what is the machine's fault. */
const mostConnections = 1000;
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
  readonly #waiting: Call[] = [];

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
    return new Promise((answered, failed) => {
      const call = { answered, failed };
      // The one that was used last: those that a burst has needed stay out of the way.
      const connection = this.#idle.pop() ?? (this.#all.length < mostConnections ? this.#connected() : undefined);
      if (connection) this.#send(connection, call);
      else this.#waiting.push(call);
    });
  }

  close(): void {
    for (const socket of this.#all) socket.destroy();
  }

  #send(connection: Connection, call: Call): void {
    connection.call = call;
    connection.socket.write(this.#request);
  }

  #connected(): Connection {
    const { hostname: host, port } = this.#url;
    const socket = connect({ host, port: Number(port), noDelay: true });
    const connection: Connection = { socket, begun: undefined, call: undefined };
    socket.on('data', (bytes: Buffer) => this.#read(connection, bytes));
    socket.on('error', (error) => connection.call?.failed(error));
    socket.on('close', () => connection.call?.failed(new Error('the server closed the connection')));
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
    if (length === undefined) return connection.call?.failed(new Error(`an answer without a length: ${head}`));
    const end = bodyAt + Number(length);
    if (all.byteLength < end) return;
    const { call } = connection;
    connection.begun = undefined;
    const next = this.#waiting.shift();
    if (next) this.#send(connection, next);
    else this.#idle.push(connection);
    call?.answered({ status: Number(head.slice(9, 12)), body: all.subarray(bodyAt, end) });
  }
}
