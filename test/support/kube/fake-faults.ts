import { setTimeout as wait } from 'node:timers/promises';

/** An answer that a client gets instead of the one that it asked for. */
export interface Fault {
  readonly status: 401 | 403 | 409 | 410 | 429 | 500 | 503 | 504;
  /** Of a 429 or a 503. */
  readonly retryAfterSeconds?: number;
  /** So many times; without it until `clear`. */
  readonly times?: number;
  /** By what the request is for: `PATCH /apis/apps/v1/namespaces/x/deployments/y/scale?…`. */
  readonly when?: (request: { readonly method: string; readonly url: string }) => boolean;
}

/** What goes wrong between a client and the API server. */
export class Faults {
  /** Every answer waits so long. */
  latencyMs = 0;
  /** Answers that were given instead of others, in all. */
  answered = 0;
  #planted: (Fault & { left: number })[] = [];

  answer(fault: Fault): void {
    this.#planted.push({ ...fault, left: fault.times ?? Infinity });
  }

  clear(): void {
    this.#planted = [];
    this.latencyMs = 0;
  }

  /** The fault that this request meets, if any. */
  async meet(method: string, url: string): Promise<Fault | undefined> {
    if (this.latencyMs > 0) await wait(this.latencyMs);
    const fault = this.#planted.find(({ left, when }) => left > 0 && (when?.({ method, url }) ?? true));
    if (!fault) return undefined;
    fault.left--;
    this.answered++;
    return fault;
  }
}
