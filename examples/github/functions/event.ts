import type { FunctionEvent } from '../../../plugins/providers/worker/api.ts';

/** An answer instead of work: to the ping of a new hook, or to an event that this hook is not for. Undefined: it is for it. */
export function notFor(wanted: string, { headers }: FunctionEvent): { status: number; body: string } | undefined {
  const event = String(headers['x-github-event']);
  if (event === wanted) return undefined;
  if (event === 'ping') return { status: 200, body: 'pong\n' };
  return { status: 422, body: `this hook is for the event ${wanted}, and got ${event}: mend the webhook's settings\n` };
}
