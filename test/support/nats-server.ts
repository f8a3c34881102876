import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sleep } from '../../core/contracts/clock.ts';

export interface NatsServerOptions {
  /** More lines of its configuration file. */
  readonly config?: string;
  /** The port of its monitoring; none without. */
  readonly monitor?: boolean;
  /** Default true, in its folder, unless `config` has it. */
  readonly jetstream?: boolean;
}

/** A nats-server of a test's own: its ports and its folder stay the same over restarts. */
export class NatsServer {
  readonly port: number;
  readonly monitorPort: number;
  readonly folder: string;
  #process: ChildProcess | undefined;
  readonly #config: string;

  private constructor(port: number, monitorPort: number, folder: string, config: string) {
    this.port = port;
    this.monitorPort = monitorPort;
    this.folder = folder;
    this.#config = config;
  }

  static async start({ config = '', monitor = false, jetstream = true }: NatsServerOptions = {}): Promise<NatsServer> {
    const folder = await mkdtemp(join(tmpdir(), 'millrace-nats-'));
    const store = /^\s*jetstream/m.test(config) || !jetstream ? '' : `jetstream { store_dir: "${folder}/js" }\n`;
    const server = new NatsServer(await freePort(), monitor ? await freePort() : 0, folder, store + config);
    await server.up();
    return server;
  }

  get url(): string {
    return `nats://127.0.0.1:${this.port}`;
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  /** Starts it on what it has; resolves when it takes connections. */
  async up(): Promise<void> {
    const file = join(this.folder, 'nats.conf');
    const log = join(this.folder, 'nats.log');
    const monitor = this.monitorPort === 0 ? '' : `http: "127.0.0.1:${this.monitorPort}"\n`;
    await writeFile(log, '');
    await writeFile(
      file,
      `listen: "127.0.0.1:${this.port}"\n${monitor}log_file: "${log}"\nserver_name: millrace-test\n${this.#config}\n`,
    );
    const child = spawn(natsBinary() ?? 'nats-server', ['-c', file], { stdio: 'ignore' });
    this.#process = child;
    const deadline = performance.now() + 20_000;
    for (;;) {
      if ((await readFile(log, 'utf8')).includes('Server is ready')) return;
      if (child.exitCode !== null || performance.now() > deadline) {
        throw new Error(`nats-server did not start: ${await readFile(log, 'utf8')}`);
      }
      await sleep(20);
    }
  }

  /** Ends it; resolves when it is gone. */
  async down(signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await gone;
  }

  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#process?.kill(signal);
  }

  async dispose(): Promise<void> {
    this.signal('SIGCONT');
    await this.down();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Where the binary is; undefined where there is none. */
export function natsBinary(): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin', '/usr/local/sbin'];
  return process.env['NATS_SERVER'] ?? folders.map((folder) => join(folder, 'nats-server')).find(existsSync);
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() =>
        typeof address === 'object' && address ? resolve(address.port) : reject(new Error('no port')),
      );
    });
  });
}
