/** `MILLRACE_FAIL=name:n` ends the process, as `kill -9` would, when the point of that name is reached for the n-th time. */
const [wanted, count] = (process.env['MILLRACE_FAIL'] ?? '').split(':');
let left = Number(count ?? 1);

/** The bug that is asked for, so that the chaos kit can be seen to find it. `serve` says so loudly. */
export const plantedBug = process.env['MILLRACE_PLANT'];

/** Whether it is that one. To be asked once, when a module is loaded: in production it costs nothing after that. */
export function planted(bug: string): boolean {
  return plantedBug === bug;
}

/**
 * A named place at which the crash test ends the process. In production, without the variable, it costs one comparison.
 */
export function failpoint(name: string): void {
  if (name !== wanted) return;
  left--;
  if (left <= 0) process.kill(process.pid, 'SIGKILL');
}
