import type { AgentOptions } from 'node:https';
import { resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type * as ClientNode from '@kubernetes/client-node';
import { Agent, type buildConnector, type Dispatcher } from 'undici';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';

/** Which cluster, and as whom. */
export interface ClusterAddress {
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
}

type Library = typeof ClientNode;

/** What a request is to be sent with. */
export interface Signed {
  readonly headers: Record<string, string>;
  readonly dispatcher: Dispatcher;
}

/**
 * Who the gateway is to the API server, by the client library: kubeconfig files, tokens that are read again when they
 * are rotated, programs that give tokens, client certificates, proxies. The library itself would open a new TLS
 * connection for each request (`KubeConfig.createDispatcher`), so the connections are kept here.
 */
export class Credentials {
  /** `https://HOST:PORT`, and the path that the API has there, if any. */
  readonly server: URL;
  readonly #library: Library;
  readonly #config: ClientNode.KubeConfig;
  #tls: AgentOptions | undefined;
  #dispatcher: Dispatcher | undefined;

  private constructor(library: Library, config: ClientNode.KubeConfig, server: string) {
    this.#library = library;
    this.#config = config;
    this.server = new URL(server);
  }

  /** Rejects with `config.invalid` when the configuration names no cluster. */
  static async load({ kubeconfig, context }: ClusterAddress, baseFolder: string): Promise<Credentials> {
    const library = await import('@kubernetes/client-node');
    const config = new library.KubeConfig();
    const where = kubeconfig === undefined ? undefined : resolve(baseFolder, kubeconfig);
    try {
      if (where !== undefined) config.loadFromFile(where);
      else if (process.env['KUBERNETES_SERVICE_HOST'] !== undefined) config.loadFromCluster();
      else throw new Error('this is no pod of a cluster: name a kubeconfig file in `kubeconfig`');
      if (context !== undefined) config.setCurrentContext(context);
      const cluster = config.getCurrentCluster();
      if (!cluster) throw new Error(`it has no context "${config.getCurrentContext()}" with a cluster`);
      if (!/^https?:\/\//.test(cluster.server)) throw new Error(`its server ${cluster.server} is no https:// address`);
      // The library refuses each request to it, which would be tried again for ever.
      if (cluster.server.startsWith('http:') && !cluster.skipTLSVerify) {
        throw new Error(`its server ${cluster.server} has no TLS: say so by insecure-skip-tls-verify, or use https`);
      }
      return new Credentials(library, config, cluster.server);
    } catch (error) {
      throw new MillraceError('config.invalid', `kubernetes: ${where ?? 'in the cluster'}: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }

  /** Asks for it anew for each request: tokens are rotated. */
  async sign(): Promise<Signed> {
    const options: AgentOptions & { headers?: Record<string, string>; auth?: string } = {};
    await this.#config.applyToHTTPSOptions(options);
    const { headers = {}, auth } = options;
    if (auth !== undefined) headers['Authorization'] = `Basic ${Buffer.from(auth).toString('base64')}`;
    return { headers, dispatcher: await this.#dispatcherFor(options) };
  }

  async close(): Promise<void> {
    await this.#dispatcher?.destroy();
  }

  async #dispatcherFor(tls: AgentOptions): Promise<Dispatcher> {
    if (this.#dispatcher && this.#tls && isSameTls(this.#tls, tls)) return this.#dispatcher;
    const before = this.#dispatcher;
    this.#tls = tls;
    this.#dispatcher = await this.#makeDispatcher(tls);
    // What is under way may end over the old connections: a watch ends by itself within its time.
    if (before) void before.close();
    return this.#dispatcher;
  }

  async #makeDispatcher(tls: AgentOptions): Promise<Dispatcher> {
    const made = this.#config.createDispatcherOptions(this.#config.getCurrentCluster(), tls);
    if (made.type === 'none') return new Agent({ allowH2: false });
    if (made.type === 'agent')
      return new Agent({ allowH2: false, connect: made.connect as buildConnector.BuildOptions });
    const request = new this.#library.RequestContext(this.server.href, this.#library.HttpMethod.GET);
    await this.#config.applySecurityAuthentication(request);
    return request.getDispatcher() as unknown as Dispatcher;
  }
}

/** Certificates are compared by what they say: the library reads their files anew for each request. */
function isSameTls(one: AgentOptions, other: AgentOptions): boolean {
  const keys = ['ca', 'cert', 'key', 'servername', 'rejectUnauthorized'] as const;
  return keys.every((key) => isDeepStrictEqual(one[key], other[key]));
}
