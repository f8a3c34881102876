import { appendFileSync } from 'node:fs';

/**
 * One line to the ledger of executions. Appended whole by one system call, so lines of all threads are in the order in
 * which things happened, and the death of the gateway loses none.
 */
export function write(
  { callId }: { callId: string },
  { function: name, attempt }: { function: string; attempt: number },
  event: 'start' | 'end',
): void {
  const line = { callId, function: name, attempt, event, place: process.env['PLACE'] };
  appendFileSync(process.env['LEDGER'] ?? '', `${JSON.stringify(line)}\n`);
}
