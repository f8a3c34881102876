import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { stripVTControlCharacters } from 'node:util';

/** A program at a terminal of its own. */
export interface Terminal extends AsyncDisposable {
  /** Types it. */
  write(text: string): void;
  /** Resolves once the pattern is found in what came since it was looked for last; rejects when the program ends before. */
  seen(pattern: RegExp): Promise<void>;
  /** All that was shown so far, without colours and movements of the cursor. */
  shown(): string;
  /** The same as the terminal got it. */
  raw(): string;
  /** The exit code. */
  readonly ended: Promise<number>;
}

/** Starts a command line under `script` of util-linux, which gives it a terminal. */
export function atTerminal(command: string, cwd: string, env: Readonly<Record<string, string>> = {}): Terminal {
  const child = spawn('script', ['-qec', command, '/dev/null'], {
    cwd,
    env: { PATH: process.env['PATH'], TERM: 'xterm', ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let output = '';
  let from = 0;
  let onOutput = (): void => undefined;
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
    onOutput();
  });
  const ended = once(child, 'close').then(([code]: (number | null)[]) => code ?? -1);
  const early = ended.then((code) => {
    throw new Error(`it ended with ${code}:\n${output}`);
  });
  early.catch(() => undefined);
  return {
    write: (text) => void child.stdin.write(text),
    seen: async (pattern) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      onOutput = () => {
        const found = pattern.exec(output.slice(from));
        if (!found) return;
        from += found.index + found[0].length;
        onOutput = () => undefined;
        resolve();
      };
      onOutput();
      await Promise.race([promise, early]);
    },
    raw: () => output,
    [Symbol.asyncDispose]: async () => {
      child.kill();
      await ended;
    },
    shown: () => stripVTControlCharacters(output),
    ended,
  };
}
