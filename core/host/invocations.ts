import type { Delivery } from '../contracts/delivery.ts';
import type { Invocations } from '../contracts/definition.ts';
import type { CancelResult, MessageRecord, Queue } from '../contracts/queue.ts';

/**
 * Invocations by id, on whichever queue they are. Ids are unique over all queues, so the first that knows one is right.
 * `running` gives the leases that run here; they are looked for one by one, since only who cancels asks.
 */
export function invocationsOf(queues: ReadonlyMap<string, Queue>, running: () => readonly Delivery[]): Invocations {
  return { find, finished, cancel };

  async function find(id: string): Promise<MessageRecord | undefined> {
    for (const queue of queues.values()) {
      const record = await queue.find(id);
      if (record) return record;
    }
    return undefined;
  }

  async function finished(id: string, waitMs: number, signal?: AbortSignal): Promise<MessageRecord | undefined> {
    const tooLate = AbortSignal.timeout(waitMs);
    const end = signal ? AbortSignal.any([tooLate, signal]) : tooLate;
    for (const queue of queues.values()) {
      if (queues.size > 1 && !(await queue.find(id))) continue;
      return queue.finished(id, end);
    }
    return undefined;
  }

  async function cancel(id: string): Promise<CancelResult> {
    for (const queue of queues.values()) {
      const result = await queue.cancel(id);
      if (result === 'unknown') continue;
      if (result === 'running')
        running()
          .find(({ request }) => request.lease?.message.id === id)
          ?.abort('cancelled');
      return result;
    }
    return 'unknown';
  }
}
