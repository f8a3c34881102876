import type { DeadLetters, NewMessage, Queue } from '../contracts/queue.ts';

/** A queue as the whole gateway uses it. */
export interface UsedQueue extends Queue {
  /** Called with a lane that is about to get something from here, before the queue is asked. */
  onUse: (lane: string) => void;
}

/**
 * That queue, telling of what is given to it from here, so that a lane need not be read before, and is read at once then. What
 * comes from elsewhere (another gateway, an earlier run, a delay that is over) is in `lanes()`.
 */
export function usedQueue(queue: Queue): UsedQueue {
  const used: UsedQueue = {
    onUse: () => {},
    get durability() {
      return queue.durability;
    },
    start: () => queue.start(),
    enqueue: (messages) => {
      useAll(messages);
      return queue.enqueue(messages);
    },
    lease: (lane, max, options) => queue.lease(lane, max, options),
    extend: (receipt, ttlMs) => queue.extend(receipt, ttlMs),
    settle: (receipt, disposition) => {
      if ('effects' in disposition && disposition.effects) useAll(disposition.effects);
      return queue.settle(receipt, disposition);
    },
    find: (id) => queue.find(id),
    finished: (id, signal) => queue.finished(id, signal),
    cancel: (id) => queue.cancel(id),
    lanes: () => queue.lanes(),
    pause: (lane) => queue.pause(lane),
    resume: (lane) => queue.resume(lane),
    deadLetters: usedLetters(queue.deadLetters, (lane) => used.onUse(lane)),
    ...(queue.draining && { draining: () => queue.draining?.() }),
    stop: (deadlineMs) => queue.stop(deadlineMs),
  };
  return used;

  function useAll(messages: readonly NewMessage[]): void {
    for (const { lane } of messages) used.onUse(lane);
  }
}

function usedLetters(letters: DeadLetters, use: (lane: string) => void): DeadLetters {
  return {
    list: (filter, limit, cursor) => letters.list(filter, limit, cursor),
    get: (id) => letters.get(id),
    body: (id) => letters.body(id),
    purge: (filter) => letters.purge(filter),
    replay: async (id, options) => {
      const lane = options.to ?? (await letters.get(id))?.lane;
      if (lane !== undefined) use(lane);
      return letters.replay(id, options);
    },
  };
}
