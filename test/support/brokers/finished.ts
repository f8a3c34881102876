import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** Runs a program to its end; rejects with the end of what it wrote if it failed or took longer than ten minutes. */
export async function finished(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<void> {
  try {
    const options = { env: { ...process.env, ...env }, timeout: 600_000, maxBuffer: 2 ** 26 };
    await execute(program, [...args], options);
  } catch (error) {
    const { stdout = '', stderr = '', message } = error as Error & { stdout?: string; stderr?: string };
    const end = `${stdout}\n${stderr}`.trim().slice(-2000);
    throw new Error(`${program} failed: ${end || message}`, { cause: error });
  }
}
