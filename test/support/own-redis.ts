import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export interface OwnBroker {
  readonly url: string;
  readonly pid: number;
  dispose(): Promise<void>;
  kill(): Promise<void>;
  restart(): Promise<void>;
  pause(): void;
  resume(): void;
}

export async function freePorts(count: number): Promise<number[]> {
  return Promise.all(Array.from({ length: count }, freePort));
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

export async function startBroker(
  _kind: 'redis',
  options: { settings?: readonly string[]; parent?: string } = {},
): Promise<OwnBroker> {
  const folder = mkdtempSync(join(options.parent ?? tmpdir(), 'millrace-redis-'));
  const port = await freePort();
  const url = `redis://127.0.0.1:${port}`;
  let child: ChildProcess;
  const run = async (): Promise<void> => {
    const lines = [
      'appendonly yes',
      'appendfsync everysec',
      'maxmemory-policy noeviction',
      'save ""',
      ...(options.settings ?? []),
    ];
    writeFileSync(join(folder, 'redis.conf'), [`port ${port}`, 'bind 127.0.0.1', `dir ${folder}`, ...lines].join('\n'));
    child = spawn('redis-server', [join(folder, 'redis.conf')], { stdio: ['ignore', 'pipe', 'ignore'] });
    for await (const line of createInterface({ input: child.stdout as NodeJS.ReadableStream })) {
      if (/Ready to accept/.test(line)) break;
    }
    child.stdout?.resume();
  };
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, 'exit');
    child.kill('SIGCONT');
    child.kill(signal);
    await exit;
  };
  await run();
  return {
    url,
    get pid() {
      return child.pid ?? 0;
    },
    dispose: async () => {
      await end('SIGTERM');
      rmSync(folder, { recursive: true, force: true });
    },
    kill: () => end('SIGKILL'),
    restart: async () => {
      await end('SIGTERM');
      await run();
    },
    pause: () => void child.kill('SIGSTOP'),
    resume: () => void child.kill('SIGCONT'),
  };
}
