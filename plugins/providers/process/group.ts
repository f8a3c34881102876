import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { messageOf } from '../../../core/contracts/errors.ts';
import type { Reaper } from './reaper.ts';
import type { FunctionSettings } from './settings.ts';

/** When a process has ended, what it left may hold its pipes open: so long nothing must come of them, ms. */
const silenceMs = 500;

/** How a process ended. */
export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Why it could not even be begun. */
  readonly error?: string | undefined;
}

/**
 * A command with all that it begins: one group of processes, which ends as a whole. When the command itself has ended,
 * whatever it left is killed.
 */
export class ProcessGroup {
  readonly pid: number | undefined;
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Resolves when it has ended and its output has been read to the end. */
  readonly closed: Promise<Ending>;
  readonly #child: ChildProcess;
  readonly #graceMs: number;
  #killTimer: NodeJS.Timeout | undefined;

  /** @throws Error when the arguments and the environment are more than the system takes. */
  constructor(settings: FunctionSettings, env: Readonly<Record<string, string>>, reaper: Reaper) {
    const [file = '', ...args] = invocationOf(settings);
    const child = spawn(file, args, { cwd: settings.cwd, env, stdio: 'pipe', detached: true });
    this.#child = child;
    this.#graceMs = settings.graceMs;
    this.pid = child.pid;
    this.stdin = child.stdin;
    this.stdout = child.stdout;
    this.stderr = child.stderr;
    if (child.pid !== undefined) reaper.add(child.pid);
    // It need not read what it is sent.
    child.stdin.on('error', () => undefined);
    const { promise, resolve } = Promise.withResolvers<Ending>();
    this.closed = promise;
    child.on('error', (error) => {
      if (child.pid === undefined) resolve({ code: null, signal: null, error: messageOf(error) });
    });
    child.on('exit', () => {
      clearTimeout(this.#killTimer);
      this.#signal('SIGKILL');
      const timers = [child.stdout, child.stderr].map(closeWhenSilent);
      child.once('close', () => timers.forEach((timer) => clearInterval(timer)));
      if (child.pid !== undefined) reaper.delete(child.pid);
    });
    child.on('close', (code, signal) => resolve({ code, signal }));
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** SIGTERM to all of it, and SIGKILL after the grace. */
  end(): void {
    if (this.#killTimer || this.hasEnded) return;
    this.#signal('SIGTERM');
    this.#killTimer = setTimeout(() => this.kill(), this.#graceMs);
  }

  kill(): void {
    if (!this.hasEnded) this.#signal('SIGKILL');
  }

  #signal(name: NodeJS.Signals): void {
    if (this.pid === undefined) return;
    try {
      process.kill(-this.pid, name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // Nobody of it is left.
    }
  }
}

/** Only what a process has taken out of its group can still write: nobody waits for that. */
function closeWhenSilent(pipe: Readable): NodeJS.Timeout {
  let isSilent = true;
  pipe.on('data', () => {
    isSilent = false;
  });
  return setInterval(() => {
    if (isSilent && !pipe.isPaused()) pipe.destroy();
    isSilent = true;
  }, silenceMs);
}

/** Joined by a shell, which goes on as the command: two pipes of Node's would not keep the order of the two streams. */
const joined = ['/bin/sh', '-c', 'exec "$@" 2>&1', 'sh'];

/** Each of these replaces itself by the next one, so the process that is begun is the command. */
function invocationOf({ program, args, limiting, combineOutput, mode }: FunctionSettings): readonly string[] {
  const words = [...limiting, program, ...args];
  return mode === 'fork' && combineOutput ? [...joined, ...words] : words;
}

/** `exit status 1` or `signal: killed`, as Go and so the watchdogs word it. */
export function endingText({ code, signal, error }: Ending): string {
  if (error !== undefined) return error;
  return signal === null ? `exit status ${code}` : `signal: ${signal}`;
}
