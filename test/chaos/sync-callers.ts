import { randomBytes } from 'node:crypto';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { Agent, request } from 'undici';

const callers = 12;
/** Such a call has what it can have of an answer by its deadline and this, ms. */
const graceMs = 1000;
const hungMs = 30_000;

/** Those who call `echo` and wait, one call after another each; half of the calls have a body. */
export class SyncCallers implements AsyncDisposable {
  readonly ids: string[] = [];
  readonly complaints: string[] = [];
  #answered = 0;
  #refused = 0;
  #brokenOff = 0;
  readonly #url: string;
  readonly #timeoutMs: number;
  readonly #agent = new Agent({ connections: callers, pipelining: 1, headersTimeout: hungMs, bodyTimeout: hungMs });
  #slowestMs = 0;
  /** How late this process itself was; so is the gateway, on the same machine. */
  readonly #lag = monitorEventLoopDelay({ resolution: 10 });

  /** `timeoutMs`: that of the function. */
  constructor(url: string, timeoutMs: number) {
    this.#url = url;
    this.#timeoutMs = timeoutMs;
  }

  get summary(): string {
    const [all, own] = [this.ids.length, this.#answered].map((count) => count.toLocaleString('en'));
    return `${all} sync calls, ${own} with their own answer, ${this.#refused} refused, ${this.#brokenOff} broken off`;
  }

  /** What ended too late. */
  get late(): readonly string[] {
    const dueMs = this.#timeoutMs + graceMs + (2 * this.#lag.max) / 1e6;
    if (this.#slowestMs <= dueMs) return [];
    return [`a sync call ended only after ${this.#slowestMs.toFixed()} ms, and had ${dueMs.toFixed()}`];
  }

  async load(signal: AbortSignal): Promise<void> {
    this.#lag.enable();
    await Promise.all(
      Array.from({ length: callers }, async (_, caller) => {
        while (!signal.aborted) {
          await this.#call(caller % 2 === 0);
          await delay(10);
        }
      }),
    );
    this.#lag.disable();
  }

  /** Resolves when another call has had its own answer. */
  async working(): Promise<void> {
    const before = this.#answered;
    const giveUpAt = performance.now() + hungMs;
    while (this.#answered === before) {
      if (performance.now() > giveUpAt) throw new Error(`no sync call was answered for ${hungMs} ms`);
      await delay(5);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.destroy();
  }

  async #call(hasBody: boolean): Promise<void> {
    const id = randomBytes(8).toString('hex');
    const sent = hasBody ? randomBytes(20 + Math.floor(Math.random() * 3000)) : Buffer.alloc(0);
    this.ids.push(id);
    const sentAt = performance.now();
    const options = { method: 'POST', headers: { 'x-call-id': id }, dispatcher: this.#agent } as const;
    try {
      const answer = await request(`${this.#url}/function/echo`, { ...options, ...(hasBody && { body: sent }) });
      const got = Buffer.from(await answer.body.arrayBuffer());
      const isOwn = got.equals(Buffer.concat([Buffer.from(`${id} `), sent]));
      if (answer.statusCode === 200 && isOwn) this.#answered++;
      else if ([502, 503, 504].includes(answer.statusCode)) this.#refused++;
      else
        this.complaints.push(
          `${id} was answered with ${answer.statusCode}, ${got.byteLength} bytes that are not its own`,
        );
    } catch (error) {
      // Part of an answer came, and the rest cannot: that is all that HTTP can say then.
      if (/^(UND_ERR_SOCKET|ECONNRESET)$/.test((error as { code?: string }).code ?? '')) this.#brokenOff++;
      else this.complaints.push(`${id}: ${String(error)}`);
    }
    this.#slowestMs = Math.max(this.#slowestMs, performance.now() - sentAt);
  }
}
