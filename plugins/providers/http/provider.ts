import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { ProviderHost } from '../../../core/contracts/definition.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { Outcome } from '../../../core/contracts/invocation.ts';
import type { Call, FunctionEntry, FunctionSpec, Provider } from '../../../core/contracts/provider.ts';
import { failed, stopping } from '../../../core/kit/outcome.ts';
import { Attempt } from '../../../core/kit/upstream/attempt.ts';
import { Endings } from '../../../core/kit/upstream/endings.ts';
import type { HttpFunction, HttpProviderConfig } from './config.ts';
import type { TlsOptions } from './upstream.ts';
import { Upstreams } from './upstreams.ts';

/** Runs functions that are upstreams: what already runs somewhere and speaks HTTP. */
export class HttpProvider implements Provider {
  readonly #config: HttpProviderConfig;
  readonly #host: ProviderHost;
  readonly #functions = new Map<string, Upstreams>();
  /** Of functions that were removed or replaced, while calls of theirs go on. */
  readonly #closing = new Endings();
  #stopping = false;

  constructor(config: HttpProviderConfig, host: ProviderHost) {
    this.#config = config;
    this.#host = host;
  }

  async start(): Promise<void> {}

  async deploy({ name, config }: FunctionSpec): Promise<void> {
    const settings = config as HttpFunction;
    const tls = await this.#read(name, settings.tls);
    const before = this.#functions.get(name);
    const upstreams = new Upstreams(name, { provider: this.#config, function: settings, tls }, this.#host);
    this.#functions.set(name, upstreams);
    if (before) this.#closing.add(before);
    upstreams.start();
  }

  async remove(name: string): Promise<void> {
    const upstreams = this.#functions.get(name);
    this.#functions.delete(name);
    if (upstreams) this.#closing.add(upstreams);
  }

  invoke({ name }: FunctionEntry, call: Call): Promise<Outcome> {
    const upstreams = this.#functions.get(name);
    if (this.#stopping) return Promise.resolve(failed('overload', stopping, 0));
    if (!upstreams) {
      const message = `function ${name} is not deployed`;
      return Promise.resolve(failed('missing', { code: 'function.missing', message }, 0));
    }
    return new Promise((settle) => {
      new Attempt(call, upstreams, this.#host.clock, settle).begin();
    });
  }

  async stop(deadlineMs: number): Promise<void> {
    this.#stopping = true;
    for (const upstreams of this.#functions.values()) this.#closing.add(upstreams);
    this.#functions.clear();
    await this.#closing.over(deadlineMs);
  }

  async #read(name: string, tls: HttpFunction['tls']): Promise<TlsOptions> {
    if (!tls) return {};
    const pem = async (key: 'ca' | 'cert' | 'key'): Promise<Partial<Record<typeof key, Buffer>>> => {
      const path = tls[key];
      if (path === undefined) return {};
      try {
        return { [key]: await readFile(resolve(this.#host.baseFolder, path)) };
      } catch (error) {
        throw new MillraceError('config.invalid', `function ${name}: tls.${key}: ${messageOf(error)}`, {
          cause: error,
        });
      }
    };
    const files = await Promise.all([pem('ca'), pem('cert'), pem('key')]);
    const servername = tls.serverName === undefined ? {} : { servername: tls.serverName };
    return Object.assign({}, ...files, servername) as TlsOptions;
  }
}
