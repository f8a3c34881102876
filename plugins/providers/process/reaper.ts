import { type ChildProcess, spawn } from 'node:child_process';
import type { Logger } from 'pino';

/**
 * Knows every group that runs, in the words of a shell, and kills them when its standard input ends. A terminal's
 * signals are not meant for it.
 */
const script = `
trap '' INT TERM HUP
groups=' '
while read -r sign id; do
  case $sign in
    +) groups="$groups$id " ;;
    -) groups="\${groups%% $id *} \${groups#* $id }" ;;
  esac
done
for id in $groups; do kill -s KILL -- "-$id"; done 2>/dev/null
`;

/**
 * What outlives a gateway that is killed: one small shell, which notices that the pipe to it has been closed, and ends
 * all groups of processes that the gateway had begun, grandchildren included. One for each provider, so that a call
 * costs two short lines and no process.
 */
export class Reaper {
  readonly #logger: Logger;
  readonly #groups = new Set<number>();
  #shell: ChildProcess | undefined;
  #stopped = false;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  start(): void {
    const shell = spawn('/bin/sh', ['-c', script], {
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
      env: {},
    });
    this.#shell = shell;
    shell.unref();
    shell.stdin.on('error', () => undefined); // Its end is told by `exit` and `error`.
    shell.on('error', (error) => this.#logger.error({ err: error }, 'the reaper of processes cannot be started'));
    shell.on('exit', () => {
      if (this.#stopped) return;
      this.#logger.warn('the reaper of processes has ended: starting another one');
      this.start();
    });
    if (this.#groups.size > 0) shell.stdin.write([...this.#groups].map((id) => `+ ${id}\n`).join(''));
  }

  /** Called in the turn in which the group was begun, so that hardly anything can come between. */
  add(group: number): void {
    this.#groups.add(group);
    this.#shell?.stdin?.write(`+ ${group}\n`);
  }

  delete(group: number): void {
    if (this.#groups.delete(group)) this.#shell?.stdin?.write(`- ${group}\n`);
  }

  stop(): void {
    this.#stopped = true;
    this.#shell?.stdin?.end();
  }
}
