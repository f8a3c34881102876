import { write } from './ledger.ts';

/** Told apart by the event's id, which a schedule makes of the slot. */
export default async (
  event: { headers: Readonly<Record<string, string>> },
  context: { function: string; attempt: number },
): Promise<string> => {
  write({ callId: event.headers['ce-id'] ?? '' }, context, 'start');
  write({ callId: event.headers['ce-id'] ?? '' }, context, 'end');
  return 'done';
};
