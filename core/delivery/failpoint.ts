/** `MILLRACE_FAIL=name:n` ends the process, as `kill -9` would, when the point of that name is reached for the n-th time. */
const [wanted, count] = (process.env['MILLRACE_FAIL'] ?? '').split(':');
let left = Number(count ?? 1);

/**
 * Whether `MILLRACE_PLANT` asks for that bug, so that the crash test can be seen to find it. Whoever has one says so loudly
 * at its start.
 */
export function planted(bug: string): boolean {
  return process.env['MILLRACE_PLANT'] === bug;
}

/**
 * A named place at which the crash test ends the process. In production, without the variable, it costs one comparison.
 */
export function failpoint(name: string): void {
  if (name !== wanted) return;
  left--;
  if (left <= 0) process.kill(process.pid, 'SIGKILL');
}
