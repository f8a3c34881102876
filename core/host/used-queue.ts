import type { Durability } from '../contracts/invocation.ts';
import type {
  CancelResult,
  DeadLetters,
  Disposition,
  EnqueueResult,
  LaneStats,
  Lease,
  LeaseOptions,
  MessageRecord,
  NewMessage,
  Queue,
  Receipt,
  SettleResult,
} from '../contracts/queue.ts';

/**
 * A queue as the whole gateway uses it: it tells of each lane that is about to get something from here, so that a lane
 * need not be read before, and is read at once then. What comes from elsewhere (another gateway, an earlier run, a delay
 * that is over) is in `lanes()`.
 */
export class UsedQueue implements Queue {
  readonly #queue: Queue;
  readonly draining?: () => string | undefined;
  readonly deadLetters: DeadLetters;
  /** Called with the lane, before the queue is asked. */
  onUse: (lane: string) => void = () => {};

  constructor(queue: Queue) {
    this.#queue = queue;
    const { deadLetters } = queue;
    if (queue.draining) this.draining = () => queue.draining?.();
    this.deadLetters = {
      list: (filter, limit, cursor) => deadLetters.list(filter, limit, cursor),
      get: (id) => deadLetters.get(id),
      body: (id) => deadLetters.body(id),
      purge: (filter) => deadLetters.purge(filter),
      replay: async (id, options) => {
        const lane = options.to ?? (await deadLetters.get(id))?.lane;
        if (lane !== undefined) this.onUse(lane);
        return deadLetters.replay(id, options);
      },
    };
  }

  get durability(): Durability {
    return this.#queue.durability;
  }

  start(): Promise<void> {
    return this.#queue.start();
  }

  enqueue(messages: readonly NewMessage[]): Promise<EnqueueResult[]> {
    this.#use(messages);
    return this.#queue.enqueue(messages);
  }

  lease(lane: string, max: number, options: LeaseOptions): Promise<Lease[]> {
    return this.#queue.lease(lane, max, options);
  }

  extend(receipt: Receipt, ttlMs: number): Promise<SettleResult> {
    return this.#queue.extend(receipt, ttlMs);
  }

  settle(receipt: Receipt, disposition: Disposition): Promise<SettleResult> {
    if ('effects' in disposition && disposition.effects) this.#use(disposition.effects);
    return this.#queue.settle(receipt, disposition);
  }

  find(id: string): Promise<MessageRecord | undefined> {
    return this.#queue.find(id);
  }

  finished(id: string, signal: AbortSignal): Promise<MessageRecord | undefined> {
    return this.#queue.finished(id, signal);
  }

  cancel(id: string): Promise<CancelResult> {
    return this.#queue.cancel(id);
  }

  lanes(): Promise<LaneStats[]> {
    return this.#queue.lanes();
  }

  pause(lane: string): Promise<void> {
    return this.#queue.pause(lane);
  }

  resume(lane: string): Promise<void> {
    return this.#queue.resume(lane);
  }

  stop(deadlineMs: number): Promise<void> {
    return this.#queue.stop(deadlineMs);
  }

  #use(messages: readonly NewMessage[]): void {
    for (const { lane } of messages) this.onUse(lane);
  }
}
