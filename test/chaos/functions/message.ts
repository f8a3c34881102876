import { write } from './ledger.ts';

const longestMs = Number(process.env['LONGEST_MS'] ?? 30);

/** A body says what is to become of it: its own id, a space, `ok`, `fail-once` or `fail-always`, and anything. */
export default async (event: { text(): string }, context: { function: string; attempt: number }): Promise<string> => {
  const [id = '', behaviour] = event.text().split(' ');
  write({ callId: id }, context, 'start');
  await new Promise((resolve) => setTimeout(resolve, Math.random() * longestMs));
  write({ callId: id }, context, 'end');
  if (behaviour === 'fail-always' || (behaviour === 'fail-once' && context.attempt === 1)) throw new Error('it fails');
  return 'done';
};
