import { availableParallelism } from 'node:os';
import type { CallerLimits } from './caller-limits.ts';

/** How many processes `gateway.processes` means, on this machine. */
export function processesOf(wanted: number | 'auto'): number {
  return wanted === 'auto' ? availableParallelism() : wanted;
}

/** The part of one process in what is bounded for all of them. */
export function shareOf(limits: CallerLimits, processes: number): CallerLimits {
  const part = (whole: number): number => Math.floor(whole / processes);
  return {
    ...limits,
    connections: part(limits.connections),
    connectionsPerAddress: part(limits.connectionsPerAddress),
  };
}
