import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sleep } from '../../core/contracts/clock.ts';

const binaries = '/usr/lib/rabbitmq/bin';
const startMs = 60_000;

/** A RabbitMQ node of a test's own, with an epmd of its own: its ports and its folder stay the same over restarts. */
export class RabbitmqServer {
  readonly port: number;
  readonly folder: string;
  readonly #environment: NodeJS.ProcessEnv;
  readonly #epmd: ChildProcess;
  readonly #config: string;
  #node: ChildProcess | undefined;

  private constructor(
    port: number,
    folder: string,
    environment: NodeJS.ProcessEnv,
    epmd: ChildProcess,
    config: string,
  ) {
    this.port = port;
    this.folder = folder;
    this.#environment = environment;
    this.#epmd = epmd;
    this.#config = config;
  }

  /** `config`: more lines of its rabbitmq.conf. */
  static async start(config = ''): Promise<RabbitmqServer> {
    const folder = await mkdtemp(join(tmpdir(), 'millrace-rabbitmq-'));
    const [port, distPort, epmdPort] = await Promise.all([freePort(), freePort(), freePort()]);
    const environment: NodeJS.ProcessEnv = {
      PATH: process.env['PATH'],
      HOME: folder,
      // The node is the process that is started, not a shell's child.
      RUNNING_UNDER_SYSTEMD: 'true',
      ERL_EPMD_PORT: `${epmdPort}`,
      ERL_EPMD_ADDRESS: '127.0.0.1',
      RABBITMQ_NODENAME: `millrace${port}@localhost`,
      RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
      RABBITMQ_NODE_PORT: `${port}`,
      RABBITMQ_DIST_PORT: `${distPort}`,
      RABBITMQ_MNESIA_BASE: join(folder, 'data'),
      RABBITMQ_LOG_BASE: join(folder, 'log'),
      RABBITMQ_PID_FILE: join(folder, 'pid'),
      RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq'),
      RABBITMQ_CONF_ENV_FILE: join(folder, 'env.conf'),
      RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'plugins'),
      // Two cores are shared with others.
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS:
        '+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}',
    };
    await mkdir(join(folder, 'log'));
    await writeFile(join(folder, 'plugins'), '[].\n');
    await writeFile(join(folder, 'env.conf'), '');
    const epmd = spawn('epmd', ['-port', `${epmdPort}`, '-address', '127.0.0.1'], { stdio: 'ignore' });
    const server = new RabbitmqServer(port, folder, environment, epmd, config);
    await until('epmd', () => canConnect(epmdPort));
    try {
      await server.up();
    } catch (error) {
      await server.dispose();
      throw error;
    }
    return server;
  }

  get url(): string {
    return `amqp://127.0.0.1:${this.port}`;
  }

  /** Starts it on what it has; resolves when it takes connections. */
  async up(): Promise<void> {
    await writeFile(join(this.folder, 'rabbitmq.conf'), `listeners.tcp.1 = 127.0.0.1:${this.port}\n${this.#config}\n`);
    const output = await open(join(this.folder, 'output'), 'a');
    const node = spawn(join(binaries, 'rabbitmq-server'), {
      env: this.#environment,
      stdio: ['ignore', output.fd, output.fd],
    });
    this.#node = node;
    await output.close();
    try {
      await until('RabbitMQ', async () => {
        if (node.exitCode !== null) throw new Error(`it ended with ${node.exitCode}`);
        return canConnect(this.port);
      });
    } catch (error) {
      const text = await readFile(join(this.folder, 'output'), 'utf8');
      throw new Error(`RabbitMQ did not start: ${String(error)}\n${text.slice(-3000)}`, { cause: error });
    }
  }

  /** Ends it; resolves when it is gone. */
  async down(signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    const node = this.#node;
    if (!node || node.exitCode !== null || node.signalCode !== null) return;
    const gone = new Promise((resolve) => node.once('exit', resolve));
    node.kill(signal);
    await gone;
  }

  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#node?.kill(signal);
  }

  /** What `rabbitmqctl` says. */
  control(...args: readonly string[]): Promise<string> {
    return new Promise((resolve, reject) => {
      execFile(join(binaries, 'rabbitmqctl'), args, { env: this.#environment }, (error, output) =>
        error ? reject(error) : resolve(output),
      );
    });
  }

  async dispose(): Promise<void> {
    this.signal('SIGCONT');
    await this.down();
    this.#epmd.kill('SIGKILL');
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** Whether there is one on this machine. */
export function hasRabbitmq(): boolean {
  return existsSync(join(binaries, 'rabbitmq-server'));
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + startMs;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`${what} took longer than ${startMs / 1000} s to start`);
    await sleep(50);
  }
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const done = (connected: boolean) => (): void => {
      socket.destroy();
      resolve(connected);
    };
    socket.once('connect', done(true));
    socket.once('error', done(false));
  });
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
