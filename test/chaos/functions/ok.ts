import { write } from './ledger.ts';

export default async (event: { callId: string }, context: { function: string; attempt: number }): Promise<string> => {
  write(event, context, 'start');
  await new Promise((resolve) => setTimeout(resolve, Math.random() * 4));
  write(event, context, 'end');
  return 'done';
};
