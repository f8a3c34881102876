import { createId, type Kind, type StreamMessage } from './entry.ts';
import { timeoutMs, unavailable } from './reader.ts';

interface Pending {
  readonly message: StreamMessage;
  readonly resolve: (position: number) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

/** More than so much is not sent before an answer has come. */
const waitingBytes = 64 * 2 ** 20;

/** What was written and has not come back yet. */
export class Outbox {
  readonly #pending = new Map<string, Pending>();
  #bytes = 0;

  /** Resolves with its position. */
  add(kind: Kind, data: Uint8Array, bytesBefore: number): { message: StreamMessage; position: Promise<number> } {
    if (this.#bytes > 0 && this.#bytes + data.byteLength > waitingBytes) {
      throw unavailable('the broker is too slow for what is asked');
    }
    const message: StreamMessage = { kind, id: createId(), bytesBefore, data };
    const { promise: position, resolve, reject } = Promise.withResolvers<number>();
    const late = new Error(`RabbitMQ did not take it within ${timeoutMs / 1000} s`);
    const timer = setTimeout(() => this.refuse(message.id, late), timeoutMs);
    this.#pending.set(message.id, { message, resolve, reject, timer });
    this.#bytes += data.byteLength;
    return { message, position };
  }

  has(id: string): boolean {
    return this.#pending.has(id);
  }

  /** In the order in which they were added. */
  messages(): StreamMessage[] {
    return [...this.#pending.values()].map(({ message }) => message);
  }

  settle(id: string, position: number): void {
    this.#take(id)?.resolve(position);
  }

  settleSeals(position: number): void {
    for (const [id, { message }] of this.#pending) if (message.kind === 'seal') this.settle(id, position);
  }

  refuse(id: string, error: Error): void {
    this.#take(id)?.reject(unavailable('what was written to the stream may be lost', error));
  }

  refuseAll(error: Error): void {
    for (const id of this.#pending.keys()) this.refuse(id, error);
  }

  #take(id: string): Pending | undefined {
    const pending = this.#pending.get(id);
    if (!pending) return undefined;
    clearTimeout(pending.timer);
    this.#pending.delete(id);
    this.#bytes -= pending.message.data.byteLength;
    return pending;
  }
}
