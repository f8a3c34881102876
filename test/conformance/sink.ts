import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import { once } from 'node:events';

/** The header by which a call, its runs and its callback find each other. */
export const keyHeader = 'x-conformance-key';

/** A request that reached the suite: a run of its function, or a callback. */
export interface Seen {
  readonly at: number;
  readonly method: string;
  /** What followed the function's name, with the query. */
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** What is answered to it. */
export interface Answer {
  readonly status?: number;
  readonly delayMs?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

/** `count`: 1 for the first. */
export type Script = (seen: Seen, count: number) => Answer;

const echo: Script = ({ body }) => ({ status: 200, body });

const taken: Script = () => ({ status: 204 });

/**
 * Where runs of the functions and callbacks arrive, and are answered as a case wants it: the functions only pass on
 * what they get (`probe.ts`), or are this server itself where a gateway calls URLs.
 */
export class Sink {
  readonly #server: Server;
  readonly #runs = new Map<string, Seen[]>();
  readonly #callbacks = new Map<string, Seen[]>();
  readonly #scripts = new Map<string, Script>();
  readonly #waiters = new Set<() => void>();
  /** Runs under way, by key, and the most there were at once. */
  readonly #running = new Map<string, { now: number; most: number }>();

  constructor() {
    this.#server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const { method = '', url = '', headers } = request;
        const [, kind, name = ''] = /^\/(function|callback)\/([^/?]*)/.exec(url) ?? [];
        if (kind === undefined) return void response.writeHead(404).end();
        const path = url.slice(`/${kind}/${name}`.length);
        const seen = { at: performance.now(), method, path, headers, body: Buffer.concat(chunks) };
        // A callback is known by its URL: not every gateway gives the caller's headers to it.
        const isRun = kind === 'function';
        const key = isRun ? String(headers[keyHeader] ?? '') : name;
        const all = isRun ? this.#runs : this.#callbacks;
        const list = all.get(key) ?? [];
        all.set(key, [...list, seen]);
        const script = this.#scripts.get(`${kind}/${key}`) ?? (isRun ? echo : taken);
        const { status = 200, delayMs = 0, headers: own = {}, body } = script(seen, list.length + 1);
        const running = this.#running.get(key) ?? { now: 0, most: 0 };
        this.#running.set(key, running);
        if (isRun) running.most = Math.max(running.most, ++running.now);
        for (const wake of this.#waiters) wake();
        setTimeout(() => {
          if (isRun) running.now--;
          response.writeHead(status, own).end(body);
        }, delayMs);
      });
    });
  }

  async listen(host: string, port: number): Promise<number> {
    this.#server.listen(port, host);
    await once(this.#server, 'listening');
    return (this.#server.address() as { port: number }).port;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  script(kind: 'function' | 'callback', key: string, script: Script): void {
    this.#scripts.set(`${kind}/${key}`, script);
  }

  runs(key: string): readonly Seen[] {
    return this.#runs.get(key) ?? [];
  }

  callbacks(key: string): readonly Seen[] {
    return this.#callbacks.get(key) ?? [];
  }

  mostAtOnce(key: string): number {
    return this.#running.get(key)?.most ?? 0;
  }

  /** Whether it came to hold within the time; looked at whenever anything arrives. */
  async until(holds: () => boolean, ms: number): Promise<boolean> {
    const end = performance.now() + ms;
    while (!holds()) {
      const left = end - performance.now();
      if (left <= 0) return false;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(wake, left);
        const waiters = this.#waiters;
        function wake(): void {
          clearTimeout(timer);
          waiters.delete(wake);
          resolve();
        }
        waiters.add(wake);
      });
    }
    return true;
  }
}
