import { setTimeout as delay } from 'node:timers/promises';
import { Agent, request } from 'undici';

const probeMs = 20;
/** Longer than a call takes on any machine, and than a gateway may take to stop. */
const hungMs = 25_000;

/** What a call was told, and by whom. */
export interface Answered {
  readonly status: number;
  readonly text: string;
  readonly callId: string;
}

/**
 * Sends calls to gateways as a load balancer does: over connections that it keeps, to those whose /readyz has said yes when
 * it last asked, each in turn. A call that found nobody listening goes to the next; one that was sent is never sent again.
 */
export class Balancer implements AsyncDisposable {
  readonly #agent = new Agent({ connections: 64, pipelining: 1, headersTimeout: hungMs, bodyTimeout: hungMs });
  readonly #ready = new Map<string, boolean>();
  readonly #over = new AbortController();
  #turn = 0;

  /** Begins to ask it. */
  add(url: string): void {
    this.#ready.set(url, false);
    void this.#probe(url);
  }

  /** Those that may be given work. */
  get ready(): readonly string[] {
    return [...this.#ready].flatMap(([url, isReady]) => (isReady ? url : []));
  }

  /** Rejects when it was sent, and had no answer. */
  async send(path: string, callId: string, body: string): Promise<Answered> {
    for (;;) {
      const { ready } = this;
      const url = ready[this.#turn++ % ready.length];
      if (url === undefined) throw new Error('no gateway is ready');
      try {
        const headers = { 'x-call-id': callId };
        const options = { method: 'POST', headers, body, dispatcher: this.#agent } as const;
        const { statusCode: status, headers: got, body: answer } = await request(url + path, options);
        return { status, text: await answer.text(), callId: String(got['x-call-id']) };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ECONNREFUSED') throw error;
        this.#ready.set(url, false);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort();
    await this.#agent.close();
  }

  /** Over and over, until it has been ready and is gone. */
  async #probe(url: string): Promise<void> {
    const { signal } = this.#over;
    while (!signal.aborted) {
      const answer = await fetch(`${url}/readyz`, { signal }).catch(() => undefined);
      await answer?.body?.cancel();
      if (!answer) break;
      this.#ready.set(url, answer.ok);
      await delay(probeMs, undefined, { signal }).catch(() => undefined);
    }
    this.#ready.delete(url);
  }
}
