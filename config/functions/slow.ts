import { setTimeout as wait } from 'node:timers/promises';

/** Takes as many milliseconds as the body says, 2000 without one, and stops when nobody waits any more. */
export default async (event: { text(): string }, { signal }: { signal: AbortSignal }) => {
  const ms = Number(event.text()) || 2000;
  await wait(ms, undefined, { signal });
  return `waited ${ms} ms\n`;
};
