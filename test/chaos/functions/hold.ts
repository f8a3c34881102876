import { existsSync } from 'node:fs';
import { write } from './ledger.ts';

/** The first attempt lasts until there is a file LEDGER.first, each other one until there is a file LEDGER.second. */
export default async (event: { callId: string }, context: { function: string; attempt: number }): Promise<string> => {
  write(event, context, 'start');
  const file = `${process.env['LEDGER']}.${context.attempt === 1 ? 'first' : 'second'}`;
  while (!existsSync(file)) await new Promise((resolve) => setTimeout(resolve, 20));
  write(event, context, 'end');
  return `attempt ${context.attempt}`;
};
