import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Agent, type Dispatcher, request } from 'undici';
import { parse } from 'yaml';
import type { JsonObject, KubeObject } from './fake-objects.ts';

interface Kubeconfig {
  readonly clusters: readonly [
    { readonly cluster: { readonly server: string; readonly 'certificate-authority-data'?: string } },
  ];
  readonly users: readonly [
    {
      readonly user: {
        readonly token?: string;
        readonly 'client-certificate-data'?: string;
        readonly 'client-key-data'?: string;
      };
    },
  ];
}

export interface Answer {
  readonly status: number;
  readonly headers: Dispatcher.ResponseData['headers'];
  /** Parsed if it is JSON. */
  readonly body: JsonObject;
  readonly text: string;
}

export interface Asking {
  readonly contentType?: string;
  readonly accept?: string;
  /** Asks as whoever has it; empty: as nobody. */
  readonly token?: string;
}

export interface WatchEvent {
  readonly type: string;
  readonly object: KubeObject;
}

/** Asks an API server, fake or real, by the plain HTTP that every client sends: nothing is made easier on the way. */
export class ApiClient implements AsyncDisposable {
  readonly url: string;
  readonly #agent: Agent;
  readonly #token: string | undefined;
  readonly #nobody: Agent;

  constructor(kubeconfig: string) {
    const { clusters, users } = parse(readFileSync(kubeconfig, 'utf8')) as Kubeconfig;
    const [{ cluster }] = clusters;
    const [{ user }] = users;
    const decoded = (text: string | undefined): string | undefined =>
      text === undefined ? undefined : Buffer.from(text, 'base64').toString();
    const ca = decoded(cluster['certificate-authority-data']);
    const cert = decoded(user['client-certificate-data']);
    const key = decoded(user['client-key-data']);
    this.url = cluster.server;
    this.#token = user.token;
    this.#agent = new Agent({ connect: { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) } });
    this.#nobody = new Agent({ connect: { ...(ca && { ca }) } });
  }

  async ask(method: Dispatcher.HttpMethod, path: string, body?: unknown, asking: Asking = {}): Promise<Answer> {
    const { statusCode: status, headers, body: answer } = await this.#request(method, path, body, asking);
    const text = await answer.text();
    const isJson = String(headers['content-type']).startsWith('application/json');
    return { status, headers, text, body: isJson ? (JSON.parse(text) as JsonObject) : {} };
  }

  get(path: string, asking?: Asking): Promise<Answer> {
    return this.ask('GET', path, undefined, asking);
  }

  merge(path: string, patch: unknown, asking?: Asking): Promise<Answer> {
    return this.ask('PATCH', path, patch, { contentType: 'application/merge-patch+json', ...asking });
  }

  /** Follows a watch until the returned stream is left, the server ends it, or it breaks off. */
  async *watch(path: string, asking: Asking = {}, signal?: AbortSignal): AsyncGenerator<WatchEvent> {
    const { statusCode, body } = await this.#request('GET', path, undefined, asking, signal);
    if (statusCode !== 200) throw new Error(`watch ${path}: ${statusCode} ${await body.text()}`);
    for await (const line of createInterface({ input: body })) yield JSON.parse(line) as WatchEvent;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#agent.destroy(), this.#nobody.destroy()]);
  }

  #request(
    method: Dispatcher.HttpMethod,
    path: string,
    body: unknown,
    { contentType = 'application/json', accept = 'application/json', token = this.#token }: Asking,
    signal?: AbortSignal,
  ): Promise<Dispatcher.ResponseData> {
    return request(`${this.url}${path}`, {
      method,
      dispatcher: token === this.#token ? this.#agent : this.#nobody,
      headers: {
        accept,
        'user-agent': 'millrace-test/1',
        ...(body !== undefined && { 'content-type': contentType }),
        ...(token !== undefined && token !== '' && { authorization: `Bearer ${token}` }),
      },
      body: body === undefined ? null : typeof body === 'string' ? body : JSON.stringify(body),
      ...(signal && { signal }),
    });
  }
}
