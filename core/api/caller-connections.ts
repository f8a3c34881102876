import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { CallerLimits } from '../config/caller-limits.ts';

/** Why a connection was refused or ended. */
export type ConnectionEnd = 'connections' | 'address' | 'idle' | 'slow';

/** What Node keeps of a connection, and has no public names for. */
interface Internals {
  /** The answer that goes out next. */
  readonly _httpMessage?: ServerResponse | null;
  readonly parser?: { readonly incoming?: IncomingMessage | null } | null;
  readonly _handle?: { readonly bytesWritten: number; readonly writeQueueSize: number } | null;
}

/** How a connection has done since it has been its peer's turn. */
interface Turn {
  readonly waitsFor: 'body' | 'room' | 'nothing';
  readonly since: number;
  readonly bytesBefore: number;
  bytes: number;
  movedAt: number;
}

interface Connection {
  readonly address: string;
  /** Undefined while it waits for nobody, or for us. */
  turn: Turn | undefined;
}

/** How often all connections are looked at, ms. */
const lookMs = 1000;
/** What moves at least so many bytes in a second is never too slow, however much it is. */
const slowBytesPerSecond = 1024;

/**
 * Bounds how many connections there are, in all and of one address, and ends those whose peer lets us wait: a body that
 * stops coming, an answer that nobody takes, or either in drops. An upload may take hours as long as it goes on. A body
 * that waits because the function reads slowly is not the sender's fault.
 *
 * One timer looks at every connection, and a request leaves no trace here: a timer armed for each would cost as much as
 * a stage of the pipeline, and a reference kept to each makes the collector take requests for long-lived.
 */
export class CallerConnections {
  readonly #limits: CallerLimits;
  readonly #onEnd: (reason: ConnectionEnd) => void;
  readonly #open = new Map<Socket, Connection>();
  readonly #byAddress = new Map<string, number>();

  constructor(limits: CallerLimits, onEnd: (reason: ConnectionEnd) => void = () => undefined) {
    this.#limits = limits;
    this.#onEnd = onEnd;
  }

  /** From now on it holds for the connections of this server, too. */
  guard(server: Server): void {
    server.on('connection', (socket: Socket) => this.#opened(socket));
    const timer = setInterval(() => this.#look(), Math.min(lookMs, this.#limits.idle / 4));
    timer.unref();
    server.once('close', () => clearInterval(timer));
  }

  #opened(socket: Socket): void {
    const address = socket.remoteAddress ?? '';
    const count = this.#byAddress.get(address) ?? 0;
    if (this.#open.size >= this.#limits.connections)
      return this.#refuse(socket, 'connections', '503 Service Unavailable');
    if (count >= this.#limits.connectionsPerAddress) return this.#refuse(socket, 'address', '429 Too Many Requests');
    this.#open.set(socket, { address, turn: undefined });
    this.#byAddress.set(address, count + 1);
    socket.once('close', () => this.#closed(socket, address));
  }

  #closed(socket: Socket, address: string): void {
    this.#open.delete(socket);
    const left = (this.#byAddress.get(address) ?? 1) - 1;
    if (left > 0) this.#byAddress.set(address, left);
    else this.#byAddress.delete(address);
  }

  /** Before anything of it is read. */
  #refuse(socket: Socket, reason: ConnectionEnd, status: string): void {
    this.#onEnd(reason);
    socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n`, () =>
      socket.destroy(),
    );
  }

  #look(): void {
    const now = performance.now();
    for (const [socket, connection] of this.#open) {
      const reason = this.#judged(socket, connection, now);
      if (reason === undefined) continue;
      this.#onEnd(reason);
      socket.destroy();
    }
  }

  #judged(socket: Socket, connection: Connection, now: number): ConnectionEnd | undefined {
    const waitsFor = peersTurn(socket);
    if (waitsFor === undefined) {
      connection.turn = undefined;
      return undefined;
    }
    const bytes = waitsFor === 'room' ? bytesTaken(socket) : socket.bytesRead;
    if (connection.turn?.waitsFor !== waitsFor) {
      connection.turn = { waitsFor, since: now, bytesBefore: bytes, bytes, movedAt: now };
    }
    const { turn } = connection;
    if (bytes !== turn.bytes) {
      turn.bytes = bytes;
      turn.movedAt = now;
    }
    if (now - turn.movedAt >= this.#limits.idle) return 'idle';
    // What nobody needs any more is not waited for longer because there is much of it.
    const grantedMs = waitsFor === 'nothing' ? 0 : ((bytes - turn.bytesBefore) / slowBytesPerSecond) * 1000;
    return now - turn.since >= this.#limits.bodyTime + grantedMs ? 'slow' : undefined;
  }
}

/**
 * What the connection has to bring next: the rest of a body, room for more of an answer, or the rest of what has been
 * answered already. Undefined where it is our turn, or nobody's.
 */
function peersTurn(socket: Socket): Turn['waitsFor'] | undefined {
  if (socket.writableLength > 0) return 'room';
  if (socket.writableEnded) return 'nothing'; // It has been refused, and is to end it.
  const { _httpMessage: answer, parser } = socket as Internals;
  const request = answer?.req ?? parser?.incoming;
  if (!request || request.complete) return undefined;
  if (!answer) return 'nothing';
  // What has come and was not read is for the function to read.
  return request.readableLength === 0 ? 'body' : undefined;
}

/** What the system has taken of the answers. */
function bytesTaken(socket: Socket): number {
  const handle = (socket as Internals)._handle;
  return handle ? handle.bytesWritten - handle.writeQueueSize : 0;
}
