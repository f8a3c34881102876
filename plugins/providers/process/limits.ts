import type { z } from 'zod';
import { MillraceError } from '../../../core/contracts/errors.ts';
import { programOf } from './command.ts';
import type { processFunction } from './index.ts';

/**
 * The words that go before a command so that the kernel holds it to its limits; none without limits.
 *
 * Memory is RLIMIT_DATA, what a process may write to, and not RLIMIT_AS: Node and Java reserve gigabytes of addresses
 * that they never touch. Each process of a function has it for itself.
 *
 * @throws MillraceError when there is no prlimit: a limit that nobody keeps would be worse than none.
 */
export function limiting({ memory, cpuTime }: z.output<typeof processFunction>['limits']): readonly string[] {
  if (memory === undefined && cpuTime === undefined) return [];
  const words = [prlimit()];
  if (memory !== undefined) words.push(`--data=${memory}`);
  const seconds = Math.ceil((cpuTime ?? 0) / 1000);
  // SIGXCPU first, SIGKILL a second later.
  if (cpuTime !== undefined) words.push(`--cpu=${seconds}:${seconds + 1}`);
  return [...words, '--'];
}

function prlimit(): string {
  try {
    return programOf('prlimit', '/', process.env['PATH']);
  } catch (error) {
    const text = 'limits need prlimit of util-linux, which is not on the PATH of the gateway';
    throw new MillraceError('config.invalid', text, { cause: error });
  }
}
