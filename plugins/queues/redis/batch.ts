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
  /** One round trip at a time: what is asked while the server is at work waits, and goes together then. */
  readonly isAlone?: boolean;
}

/** What is asked in one turn of the event loop goes to the server together, in order, each answered by itself. */
export class Batch<Request, Answer> {
  readonly #send: (requests: readonly Request[]) => Promise<readonly Answer[]>;
  readonly #limits: BatchLimits;
  #pending: Pending<Request, Answer>[] = [];
  #isScheduled = false;
  #underWay = 0;

  constructor(send: (requests: readonly Request[]) => Promise<readonly Answer[]>, limits: BatchLimits) {
    this.#send = send;
    this.#limits = limits;
  }

  add(request: Request, bytes = 0): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#pending.push({ request, bytes, resolve, reject });
      if (this.#isScheduled || !this.#maySend) return;
      this.#isScheduled = true;
      setImmediate(() => {
        this.#isScheduled = false;
        this.#flush();
      });
    });
  }

  get #maySend(): boolean {
    return this.#underWay === 0 || !this.#limits.isAlone;
  }

  #flush(): void {
    while (this.#pending.length > 0 && this.#maySend) void this.#exchange(this.#next());
  }

  #next(): Pending<Request, Answer>[] {
    let count = 0;
    let bytes = 0;
    for (const each of this.#pending) {
      bytes += each.bytes;
      if (count >= this.#limits.count || (count > 0 && bytes > this.#limits.bytes)) break;
      count++;
    }
    return this.#pending.splice(0, count);
  }

  /** Never rejects: each request has its own answer. */
  async #exchange(chunk: readonly Pending<Request, Answer>[]): Promise<void> {
    this.#underWay++;
    const [sent] = await Promise.allSettled([this.#send(chunk.map(({ request }) => request))]);
    this.#underWay--;
    // Before the answers are heard, so that the server works on the next ones meanwhile.
    if (this.#limits.isAlone) this.#flush();
    if (sent.status === 'rejected') {
      for (const { reject } of chunk) reject(sent.reason);
      return;
    }
    for (const [index, { resolve, reject }] of chunk.entries()) {
      const answer = sent.value[index];
      if (answer === undefined) reject(new Error('the server answered fewer requests than it was sent'));
      else resolve(answer);
    }
  }
}
