import type { NewMessage } from '../../core/contracts/queue.ts';

/** A message with nothing special about it. */
export function plainMessage(id: string, options: Partial<NewMessage> = {}): NewMessage {
  return {
    id,
    lane: 'work.default',
    envelope: {
      callId: id,
      method: 'POST',
      path: '',
      query: '',
      headers: {},
      source: 'test',
      depth: 0,
      acceptedAt: 0,
    },
    body: Buffer.from(`body of ${id}`),
    priority: 5,
    maxAttempts: 3,
    resultTtlMs: 60_000,
    ...options,
  };
}
