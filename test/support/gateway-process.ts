import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { join } from 'node:path';

const root = join(import.meta.dirname, '../..');
const sources = [process.execPath, 'core/main.ts'] as const;

/** A gateway in a process of its own, as a user starts it. */
export interface GatewayProcess {
  readonly child: ChildProcess;
  readonly url: string;
  readonly management: string;
  /** Lines it has logged so far, the last thousand. */
  readonly log: readonly string[];
  /** Resolves when the process has ended, with its code or the signal's name. */
  readonly ended: Promise<number | string>;
}

interface HowToStart {
  /** A command that runs the one that follows it, in the same process. */
  readonly through?: readonly string[];
  /** Where it runs. */
  readonly folder?: string;
  /** What `serve` is a command of: the sources here, unless it is another release. */
  readonly millrace?: readonly [string, ...string[]];
}

/** Starts it on the configuration and waits until it says that it is ready; rejects with its output if it ends before. */
export async function startGateway(
  config: string,
  env: Readonly<Record<string, string>> = {},
  { through = [], folder = root, millrace = sources }: HowToStart = {},
): Promise<GatewayProcess> {
  const [program, ...args] = [...through, ...millrace, 'serve', '--config', config];
  const child = spawn(program, args, {
    cwd: folder,
    env: { PATH: process.env['PATH'], NODE_COMPILE_CACHE: join(root, '.compile-cache'), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const log: string[] = [];
  const ended = once(child, 'exit').then(([code, signal]: (number | string | null)[]) => code ?? signal ?? 'unknown');
  const { promise: ready, resolve } = Promise.withResolvers<{ url: string; management: string }>();
  for (const stream of [child.stdout, child.stderr]) {
    if (!stream) continue;
    createInterface({ input: stream }).on('line', (line) => {
      log.push(line);
      if (log.length > 1000) log.shift();
      if (line.includes('"msg":"ready"')) resolve(JSON.parse(line) as { url: string; management: string });
    });
  }
  const early = ended.then((code) => {
    throw new Error(`the gateway ended with ${code} before it was ready:\n${log.slice(-30).join('\n')}`);
  });
  const { url, management } = await Promise.race([ready, early]);
  early.catch(() => undefined); // From here on its end is for the caller to await.
  return { child, url, management, log, ended };
}

/** Ends it as it should be ended, and returns its exit code. */
export async function stopGateway({ child, ended }: GatewayProcess): Promise<number | string> {
  child.kill('SIGTERM');
  return ended;
}
