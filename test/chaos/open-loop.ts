import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** What came of calls that were begun at their time, whatever had become of those before. */
export interface Counted {
  readonly begun: number;
  /** 200 within the deadline. Who has none by then waits on, and is in the way of the others. */
  readonly good: number;
  /** 429 or 503 with Retry-After. */
  readonly refused: number;
  /** Answered otherwise, after the deadline, or not at all. */
  readonly wrong: number;
  /** Of the good ones, ms; sorted. */
  readonly latencies: readonly number[];
}

export interface Load {
  readonly path: string;
  readonly ratePerSecond: number;
  readonly ms: number;
  readonly deadlineMs: number;
  /** Opened before it begins: under load Node accepts one connection in each turn of its loop. */
  readonly connections?: number;
}

/** As many as a gateway takes of one address by default, and some to spare. */
const mostConnections = 4000;
const tickMs = 4;
/** A caller who has had no answer for so long takes the gateway for hung. */
const hungMs = 25_000;

/**
 * Calls a function so often a second, and waits for no answer before the next call: as callers do who know nothing of one
 * another. Raw, since a client library would be saturated before the gateway is.
 */
export async function openLoop(
  url: string,
  { path, ratePerSecond, ms, deadlineMs, connections = 0 }: Load,
): Promise<Counted> {
  const callers = new Callers(url, path);
  await callers.connect(connections);
  const startedAt = performance.now();
  const calls: Promise<Answered>[] = [];
  for (let now = startedAt; now < startedAt + ms; now = performance.now()) {
    const due = Math.floor(((now - startedAt) * ratePerSecond) / 1000);
    // By the time at which it was due: a caller does not know that we are late.
    while (calls.length < due) calls.push(callers.call(startedAt + (calls.length * 1000) / ratePerSecond));
    await new Promise((resolve) => setTimeout(resolve, tickMs));
  }
  const answers = await Promise.all(calls);
  callers.close();
  return counted(answers, deadlineMs);
}

/** So many callers, each one call after another, for so long. */
export async function closedLoop(url: string, path: string, callers: number, ms: number): Promise<Counted> {
  const all = new Callers(url, path);
  await all.connect(callers);
  const answers: Answered[] = [];
  const end = performance.now() + ms;
  const one = async (): Promise<void> => {
    while (performance.now() < end) answers.push(await all.call(performance.now()));
  };
  await Promise.all(Array.from({ length: callers }, one));
  all.close();
  return counted(answers, ms);
}

export function percentile(sorted: readonly number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
}

interface Answered {
  /** 0: none. */
  readonly status: number;
  readonly hasRetryAfter: boolean;
  readonly tookMs: number;
}

function counted(answers: readonly Answered[], deadlineMs: number): Counted {
  const good = answers.filter(({ status, tookMs }) => status === 200 && tookMs <= deadlineMs);
  const refused = answers.filter(({ status, hasRetryAfter }) => (status === 429 || status === 503) && hasRetryAfter);
  return {
    begun: answers.length,
    good: good.length,
    refused: refused.length,
    wrong: answers.length - good.length - refused.length,
    latencies: good.map(({ tookMs }) => tookMs).toSorted((one, other) => one - other),
  };
}

/** Connections to one gateway, each kept for the next call. */
class Callers {
  readonly #port: number;
  readonly #bytes: string;
  readonly #idle: Socket[] = [];
  readonly #all = new Set<Socket>();

  constructor(url: string, path: string) {
    this.#port = Number(new URL(url).port);
    this.#bytes = `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\n\r\ncall`;
  }

  /** Never rejects. */
  call(since: number): Promise<Answered> {
    const socket = this.#idle.pop() ?? this.#connected();
    if (!socket) return Promise.resolve({ status: 0, hasRetryAfter: false, tookMs: performance.now() - since });
    return new Promise((resolve) => {
      let text = '';
      const over = (status: number): void => {
        clearTimeout(timer);
        socket.removeAllListeners('data');
        socket.removeAllListeners('close');
        if (status === 0) socket.destroy();
        else this.#idle.push(socket);
        resolve({ status, hasRetryAfter: /\r\nretry-after:/i.test(text), tookMs: performance.now() - since });
      };
      const timer = setTimeout(() => over(0), hungMs);
      socket.on('close', () => over(0));
      socket.on('data', (bytes: Buffer) => {
        text += bytes.toString('latin1');
        const headEnd = text.indexOf('\r\n\r\n');
        const length = Number(/\r\ncontent-length: (\d+)/i.exec(text)?.[1] ?? 0);
        if (headEnd !== -1 && text.length >= headEnd + 4 + length) over(Number(text.slice(9, 12)));
      });
      socket.write(this.#bytes);
    });
  }

  /** One after another, since as many at once would wait in the backlog. */
  async connect(count: number): Promise<void> {
    const opened: Socket[] = [];
    while (opened.length < count) {
      const socket = this.#connected();
      if (!socket) break;
      await once(socket, 'connect');
      opened.push(socket);
    }
    this.#idle.push(...opened);
  }

  close(): void {
    for (const socket of this.#all) socket.destroy();
  }

  #connected(): Socket | undefined {
    if (this.#all.size >= mostConnections) return undefined;
    const socket = connect({ port: this.#port, host: '127.0.0.1', noDelay: true });
    this.#all.add(socket);
    socket.on('error', () => undefined); // Its end tells.
    socket.once('close', () => {
      this.#all.delete(socket);
      const at = this.#idle.indexOf(socket);
      if (at !== -1) this.#idle.splice(at, 1);
    });
    return socket;
  }
}
