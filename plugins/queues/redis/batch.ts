interface Pending<Request, Answer> {
  readonly request: Request;
  readonly bytes: number;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
}

export interface BatchLimits {
  /** Requests in one round trip: the server does nothing else meanwhile. */
  readonly count: number;
  readonly bytes: number;
}

/** What is asked in one turn of the event loop goes to the server together, in order, each answered by itself. */
export class Batch<Request, Answer> {
  readonly #send: (requests: readonly Request[]) => Promise<readonly Answer[]>;
  readonly #limits: BatchLimits;
  #pending: Pending<Request, Answer>[] = [];

  constructor(send: (requests: readonly Request[]) => Promise<readonly Answer[]>, limits: BatchLimits) {
    this.#send = send;
    this.#limits = limits;
  }

  add(request: Request, bytes = 0): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#pending.length === 0) setImmediate(() => this.#flush());
      this.#pending.push({ request, bytes, resolve, reject });
    });
  }

  #flush(): void {
    const pending = this.#pending;
    this.#pending = [];
    let chunk: Pending<Request, Answer>[] = [];
    let bytes = 0;
    for (const each of pending) {
      if (chunk.length >= this.#limits.count || (chunk.length > 0 && bytes + each.bytes > this.#limits.bytes)) {
        void this.#exchange(chunk);
        chunk = [];
        bytes = 0;
      }
      chunk.push(each);
      bytes += each.bytes;
    }
    void this.#exchange(chunk);
  }

  /** Never rejects: each request has its own answer. */
  async #exchange(chunk: readonly Pending<Request, Answer>[]): Promise<void> {
    try {
      const answers = await this.#send(chunk.map(({ request }) => request));
      for (const [index, { resolve, reject }] of chunk.entries()) {
        const answer = answers[index];
        if (answer === undefined) reject(new Error('the server answered fewer requests than it was sent'));
        else resolve(answer);
      }
    } catch (error) {
      for (const { reject } of chunk) reject(error);
    }
  }
}
