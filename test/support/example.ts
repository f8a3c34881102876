import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type GatewayProcess, startGateway, stopGateway } from './gateway-process.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../..');

/** Of `expect.poll`: the machine may be busy with other things. */
export const patient = { timeout: 30_000 };

export interface Letter {
  readonly id: string;
  readonly function: string;
  readonly reason: string;
  readonly attempt: number;
  readonly errors: readonly { readonly code: string; readonly message: string }[];
}

/** A file of an example. */
export function fileOf(example: string, path: string): string {
  return join(root, 'examples', example, path);
}

/** A program of the repository: what it printed. Rejects where it ends with an exit code. */
export async function runNode(args: readonly string[], more: Readonly<Record<string, string>> = {}): Promise<string> {
  const env = { PATH: process.env['PATH'], NODE_COMPILE_CACHE: join(root, '.compile-cache'), ...more };
  return (await run(process.execPath, args, { cwd: root, env })).stdout;
}

/** An example of `examples/`: a gateway process on its file as it stands, whose data are in a folder of the test's. */
export class Example implements AsyncDisposable {
  readonly #name: string;
  readonly #env: Readonly<Record<string, string>>;
  /** Where it keeps its queue, its store and what its functions write. */
  readonly data: string = mkdtempSync(join(tmpdir(), 'millrace-example-'));
  #gateway: GatewayProcess | undefined;

  private constructor(name: string, env: Readonly<Record<string, string>>) {
    this.#name = name;
    this.#env = env;
  }

  /** `env`: what its README has in front of the command. */
  static async start(name: string, env: Readonly<Record<string, string>> = {}): Promise<Example> {
    const example = new Example(name, env);
    await example.start();
    return example;
  }

  get gateway(): GatewayProcess {
    if (!this.#gateway) throw new Error('the gateway of the example does not run');
    return this.#gateway;
  }

  get url(): string {
    return this.gateway.url;
  }

  async start(): Promise<void> {
    const env = { HOME: tmpdir(), DATA: this.data, PORT: '0', MANAGEMENT_PORT: '0', ...this.#env };
    this.#gateway = await startGateway(fileOf(this.#name, 'millrace.yaml'), env);
  }

  async stop(): Promise<void> {
    await stopGateway(this.gateway);
    this.#gateway = undefined;
  }

  /** Without a word, as a crash does it. */
  async kill(): Promise<void> {
    this.gateway.child.kill('SIGKILL');
    await this.gateway.ended;
    this.#gateway = undefined;
  }

  /** `npm run millrace -- …` on this gateway: what it printed. */
  millrace(...args: readonly string[]): Promise<string> {
    return runNode(['core/main.ts', ...args, '--url', this.url]);
  }

  /** Replays a dead letter with a file of the example as its body, by the command that the README has: the new invocation. */
  async replay(letter: string | undefined, body: string): Promise<string> {
    const file = fileOf(this.#name, body);
    const told = await this.millrace('dead-letters', 'replay', letter ?? '', '--body-file', file);
    const [, id] = /runs again as (\w+)/.exec(told) ?? [];
    if (id === undefined) throw new Error(`it was not replayed: ${told}`);
    return id;
  }

  async json<T>(path: string): Promise<T> {
    return (await (await fetch(`${this.url}${path}`)).json()) as T;
  }

  /** The oldest first. */
  async letters(): Promise<readonly Letter[]> {
    const { items } = await this.json<{ items: readonly Letter[] }>('/system/dead-letters');
    return items.toReversed();
  }

  /** What a queued invocation has come to. */
  result(id: string): Promise<Response> {
    return fetch(`${this.url}/invocations/${id}/result?wait=30s`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#gateway) await this.stop();
    rmSync(this.data, { recursive: true, force: true });
  }
}
