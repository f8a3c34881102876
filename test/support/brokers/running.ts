import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from './plan.ts';

/** A program that runs in a process group of its own, with all that it starts, and writes into a log. */
export class Running {
  readonly #child: ChildProcess;
  readonly #log: string;
  readonly #from: number;
  readonly ended: Promise<void>;

  /** Throws when the program cannot be started at all. */
  constructor({ program, args, env = {} }: Command, folder: string, log: string) {
    this.#log = log;
    // Not a pipe: a broker must not wait for a test that is busy or stopped to read what it says.
    const output = openSync(log, 'a');
    this.#from = statSync(log).size;
    this.#child = spawn(program, [...args], {
      cwd: folder,
      env: { PATH: process.env['PATH'], ...env },
      stdio: ['ignore', output, output],
      detached: true,
    });
    closeSync(output);
    // A process must not be kept alive by what it forgot to end; the keeper ends that.
    this.#child.unref();
    this.ended = once(this.#child, 'exit').then(() => undefined);
    this.ended.catch(() => undefined); // Told by `pid`.
  }

  /** Of the group's leader. Throws when the program could not be started. */
  get pid(): number {
    if (this.#child.pid === undefined) throw new Error(`${this.#child.spawnfile} cannot be run`);
    return this.#child.pid;
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** What it has written since its start. */
  get output(): string {
    return readFileSync(this.#log).subarray(this.#from).toString();
  }

  /** Resolves once the log says so; rejects with the end of the log when the program ends or the time is up. */
  async until(line: RegExp, withinMs: number): Promise<void> {
    const giveUpAt = Date.now() + withinMs;
    while (!line.test(this.output)) {
      if (this.hasEnded || Date.now() > giveUpAt) {
        const what = this.hasEnded ? 'ended while starting' : `did not serve within ${withinMs} ms`;
        throw new Error(`${this.#child.spawnfile} ${what}:\n${this.output.slice(-2000)}`);
      }
      await sleep(20);
    }
  }

  /** To the whole group. */
  signal(signal: NodeJS.Signals): void {
    if (!this.hasEnded) process.kill(-this.pid, signal);
  }

  /** Asks it to end, and kills it if it does not within 20 seconds. What it started is its own to end. */
  async stop(): Promise<void> {
    this.signal('SIGCONT');
    if (!this.hasEnded) process.kill(this.pid, 'SIGTERM');
    const timer = setTimeout(() => this.signal('SIGKILL'), 20_000);
    try {
      await this.#end();
    } finally {
      clearTimeout(timer);
    }
  }

  async kill(): Promise<void> {
    this.signal('SIGKILL');
    await this.#end();
  }

  async #end(): Promise<void> {
    if (this.hasEnded) return;
    this.#child.ref();
    await this.ended;
  }
}
