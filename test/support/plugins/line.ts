import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { z } from 'zod';
import { connectionName, duration } from '../../../core/config/units.ts';
import type { Connection, ConnectionHealth } from '../../../core/contracts/connection.ts';
import { sleep } from '../../../core/contracts/clock.ts';
import {
  type ConnectionHost,
  defineConnection,
  defineQueue,
  defineStore,
  type PluginHost,
} from '../../../core/contracts/definition.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import memoryQueue from '../../../plugins/queues/memory/index.ts';
import memoryStore from '../../../plugins/stores/memory/index.ts';

/** The connection of somebody else's plugins, as a test brings it: a TCP server that says hello with its first line. */
export interface LineConnection extends Connection {
  say(line: string): void;
}

const lineConfig = z.strictObject({
  port: z.int().describe('Of the server, on this machine.'),
  connectTimeout: duration('5s').describe('How long the first dial may take.'),
  breaks: z.enum(['start', 'timer', 'health']).optional().describe('Where it throws, as a broken plugin does.'),
});

class Line implements LineConnection {
  readonly #config: z.output<typeof lineConfig>;
  readonly #host: ConnectionHost;
  readonly #ending = new AbortController();
  #socket: Socket | undefined;
  #isLost = true;
  #reconnects = 0;
  #lastError: string | undefined;

  constructor(config: z.output<typeof lineConfig>, host: ConnectionHost) {
    this.#config = config;
    this.#host = host;
  }

  async start(): Promise<void> {
    if (this.#config.breaks === 'start') throw new TypeError('the plugin is broken');
    const late = AbortSignal.timeout(this.#config.connectTimeout);
    const ended = AbortSignal.any([late, this.#host.signal, this.#ending.signal]);
    while (!(await this.#dial(ended))) {
      await sleep(10, ended);
      if (!ended.aborted) continue;
      const text = `127.0.0.1:${this.#config.port} does not answer: ${this.#lastError ?? 'no reason'}`;
      throw new MillraceError('connection.unavailable', text);
    }
    if (this.#config.breaks !== 'timer') return;
    setTimeout(() => {
      throw new Error('a timer of the connection went wrong');
    }, 0);
    await sleep(20); // It is still starting then.
  }

  health(): ConnectionHealth {
    if (this.#config.breaks === 'health') throw new Error('health went wrong');
    return {
      state: this.#ending.signal.aborted ? 'stopped' : this.#isLost ? 'reconnecting' : 'connected',
      reconnects: this.#reconnects,
      lastError: this.#lastError,
    };
  }

  say(line: string): void {
    this.#socket?.write(`${line}\n`);
  }

  async stop(): Promise<void> {
    this.#ending.abort();
    if (!this.#socket || this.#isLost) return;
    this.#socket.end('connection stopped\n');
    await once(this.#socket, 'close');
  }

  /** Whether it is connected now. Throws when the server says that it will never let us in. */
  async #dial(signal: AbortSignal): Promise<boolean> {
    const socket = connect(this.#config.port, '127.0.0.1');
    let hello: string;
    try {
      const [line] = (await once(socket, 'data', { signal })) as [Buffer];
      hello = line.toString().trim();
    } catch (error) {
      if (!signal.aborted) this.#lastError = messageOf(error);
      socket.destroy();
      return false;
    }
    if (hello === 'denied') {
      socket.destroy();
      throw new MillraceError('config.invalid', `127.0.0.1:${this.#config.port} denies access: check the credentials`);
    }
    this.#socket = socket;
    this.#isLost = false;
    socket.on('error', (error) => (this.#lastError = messageOf(error)));
    socket.once('close', () => void this.#redial());
    return true;
  }

  async #redial(): Promise<void> {
    this.#isLost = true;
    this.#lastError ??= 'the server closed the connection';
    const { signal } = this.#ending;
    while (!signal.aborted && !(await this.#dial(signal))) {
      await sleep(10, signal);
    }
    if (!signal.aborted) this.#reconnects++;
  }
}

const overLine = { summary: 'Over a line. For tests.', connection: 'line' } as const;

/** The plugin, which says over its connection that it starts and stops. */
function talking<Plugin extends { start(): Promise<void>; stop(deadlineMs: number): Promise<void> }>(
  plugin: Plugin,
  type: string,
  host: PluginHost,
): Plugin {
  const start = plugin.start.bind(plugin);
  const stop = plugin.stop.bind(plugin);
  plugin.start = () => {
    host.connection<LineConnection>().say(`${type} starts`);
    return start();
  };
  plugin.stop = async (deadlineMs) => {
    await stop(deadlineMs);
    host.connection<LineConnection>().say(`${type} stopped`);
  };
  return plugin;
}

export default [
  defineConnection({
    kind: 'line',
    summary: 'A TCP server that says hello. For tests.',
    config: lineConfig,
    examples: [{ port: 4000 }],
    create: (config, host) => new Line(config, host),
  }),
  defineQueue({
    ...overLine,
    kind: 'line-queue',
    config: z.strictObject({ connection: connectionName }),
    examples: [{ connection: 'main' }],
    capabilities: memoryQueue.capabilities,
    create: (_config, host) =>
      talking(memoryQueue.create(memoryQueue.config.parse({ allowVolatile: true }), host), 'queue', host),
  }),
  defineStore({
    ...overLine,
    kind: 'line-store',
    config: z.strictObject({ connection: connectionName }),
    examples: [{}],
    create: (_config, host) => talking(memoryStore.create(memoryStore.config.parse({}), host), 'store', host),
  }),
];
