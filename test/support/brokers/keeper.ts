import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

/**
 * Ends processes and removes a folder when this process has ended, however that was: a shell that waits for the end of
 * its standard input. It has a session of its own, so that Ctrl-C does not end it first.
 */
const script = `
groups=
while read -r line; do groups=$line; done
for group in $groups; do kill -s KILL -- "-$group"; done 2>/dev/null
rm -rf -- "$1" 2>/dev/null || { sleep 1; rm -rf -- "$1"; }
`;

export class Keeper {
  readonly #shell: ChildProcess;

  constructor(folder: string) {
    this.#shell = spawn('/bin/sh', ['-c', script, 'keeper', folder], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    this.#shell.unref();
    // It can only have been killed; what it was to keep is then left to whoever did that.
    this.#shell.stdin?.on('error', () => undefined);
    this.#shell.on('error', () => undefined);
  }

  /** The process groups that are alive now. */
  watch(groups: readonly number[]): void {
    this.#shell.stdin?.write(`${groups.join(' ')}\n`);
  }

  /** Ends and removes now. */
  async finish(): Promise<void> {
    if (this.#shell.exitCode !== null || this.#shell.signalCode !== null) return;
    this.#shell.ref();
    this.#shell.stdin?.end();
    await once(this.#shell, 'exit');
  }
}
