import { createHash, randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { bodyOf } from '../support/http-functions.ts';
import type { PodHandler } from '../support/kube/stand-ins.ts';
import type { AcceptedCall, Execution } from './checker.ts';

const callers = 6;

/** What the stand-in pods wrote down. */
export class PodLedger {
  readonly executions: Execution[] = [];
  /**
   * Calls that came to a pod of another function. kwok gives an address again at once, where networks of real clusters wait:
   * a gateway that is cut off from the API cannot know. They are broken off, and count as not run.
   */
  strays = 0;

  /** The image of a function; it takes up to so many ms, and answers with that status. */
  handler(status: number, longestMs: number): PodHandler {
    return async (call, response, pod) => {
      const callId = String(call.headers['x-call-id']);
      const name = String(call.headers['x-function']);
      if (pod.metadata.labels?.['faas_function'] !== name) {
        this.strays++;
        call.socket.resetAndDestroy();
        return;
      }
      const note = (event: 'start' | 'end'): void =>
        void this.executions.push({ callId, function: name, attempt: 0, event });
      note('start');
      await bodyOf(call).catch(() => Buffer.alloc(0)); // Its caller broke off: that is an attempt as well.
      await delay(Math.random() * longestMs);
      if (response.destroyed) return;
      note('end');
      response.writeHead(status).end('done');
    };
  }
}

/** Those who call functions by the queue, all the time, and the ledger of what they were told. */
export class AsyncCallers {
  readonly accepted: AcceptedCall[] = [];
  readonly unknown = new Set<string>();
  readonly complaints: string[] = [];
  /** How often a function was not there. */
  missing = 0;
  readonly #agent = new Agent({ connections: callers });
  readonly #over = new AbortController();
  readonly #running: Promise<unknown>;

  constructor(url: string, names: readonly string[], random: () => number, paceMs: number) {
    const one = async (): Promise<void> => {
      while (!this.#over.signal.aborted) {
        const name = names[Math.floor(random() * names.length)] ?? '';
        await this.#call(url, name);
        await delay(random() * 2 * paceMs);
      }
    };
    this.#running = Promise.all(Array.from({ length: callers }, one));
  }

  async stop(): Promise<void> {
    this.#over.abort();
    await this.#running;
    await this.#agent.destroy();
  }

  async #call(url: string, name: string): Promise<void> {
    const callId = randomBytes(8).toString('hex');
    const body = randomBytes(32);
    this.unknown.add(callId);
    const {
      statusCode,
      headers,
      body: answer,
    } = await request(`${url}/async-function/${name}`, {
      method: 'POST',
      headers: { 'x-call-id': callId, 'x-function': name },
      body,
      dispatcher: this.#agent,
    });
    const text = await answer.text();
    this.unknown.delete(callId);
    if (statusCode === 202) {
      const sha = createHash('sha256').update(body).digest('hex');
      this.accepted.push({ callId, id: String(headers['x-invocation-id']), function: name, body: sha });
    } else if (statusCode === 404 && text.includes('function.missing')) this.missing++;
    // The queue is on this machine: nothing of the cluster may keep it from taking a call.
    else this.complaints.push(`${name} was answered with ${statusCode} ${text.slice(0, 200)}`);
  }
}
