import type { Dispatcher } from 'undici';
import { sleep } from '../../../core/contracts/clock.ts';
import { bufferOf, jsonOf, readAll } from '../../../core/kit/body.ts';
import type { Credentials } from './credentials.ts';
import { isKubeError, KubeError } from './kube-error.ts';
import { type Kind, type KubeObject, type New, pathOf } from './kinds.ts';

/** How a patch is meant: https://kubernetes.io/docs/reference/using-api/api-concepts/#patch-and-apply */
export type PatchType = 'merge-patch' | 'strategic-merge-patch' | 'json-patch' | 'apply-patch';

/** The metadata of objects and nothing else of them: of secrets no value ever comes here. */
export const metadataOnly = {
  list: 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1',
  object: 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1',
} as const;

export interface KubeRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>> | undefined;
  readonly body?: unknown;
  readonly contentType?: string | undefined;
  readonly accept?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface ListOf<T> {
  readonly metadata: { readonly resourceVersion: string; readonly continue?: string };
  /** Of metadata only, null for none. */
  readonly items: readonly T[] | null;
}

/** A page of 500 objects of 128 KiB; what is larger is no answer of an API server that is well. */
const maxAnswerBytes = 64 * 2 ** 20;
const maxStatusBytes = 2 ** 20;
/** After a 429 without `Retry-After`, ms. */
const pauseMs = 1000;
/** A request that the server is too busy for is said again so often. */
const tries = 5;

/** Says requests to the API server. Rejects with `KubeError` for whatever is not answered as asked. */
export class KubeClient {
  readonly #credentials: Credentials;
  readonly #timeoutMs: number;

  constructor(credentials: Credentials, timeoutMs: number) {
    this.#credentials = credentials;
    this.#timeoutMs = timeoutMs;
  }

  get<T extends KubeObject>(kind: Kind<T>, namespace: string | undefined, name: string): Promise<T> {
    return this.ask({ method: 'GET', path: pathOf(kind, namespace, name) });
  }

  /** Unknown fields are an error and not dropped: what the server does not know would be a promise that nobody keeps. */
  create<T extends KubeObject>(kind: Kind<T>, namespace: string | undefined, object: New<T>): Promise<T> {
    const query = { fieldValidation: 'Strict' };
    return this.ask({ method: 'POST', path: pathOf(kind, namespace), body: object, query });
  }

  /** Replaces what has the `resourceVersion` of `object`; rejects with 409 when it has changed since. */
  update<T extends KubeObject>(kind: Kind<T>, namespace: string | undefined, object: T): Promise<T> {
    const path = pathOf(kind, namespace, object.metadata.name);
    return this.ask({ method: 'PUT', path, body: object, query: { fieldValidation: 'Strict' } });
  }

  patch<T>(path: string, type: PatchType, body: unknown, query?: KubeRequest['query']): Promise<T> {
    const contentType = `application/${type}+${type === 'apply-patch' ? 'yaml' : 'json'}`;
    return this.ask({ method: 'PATCH', path, body, contentType, query });
  }

  /** Resolves once the server has taken it; with `Foreground` the object stays until what it owns is gone. */
  async remove(
    kind: Kind,
    namespace: string | undefined,
    name: string,
    options: { propagationPolicy: 'Foreground' | 'Background'; preconditions?: { uid: string } },
  ): Promise<void> {
    await this.ask({ method: 'DELETE', path: pathOf(kind, namespace, name), body: options });
  }

  /**
   * One request, and its answer as JSON. A 429 has changed nothing, and is waited out, unless that takes longer than an
   * answer may.
   */
  async ask<T>(request: KubeRequest): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const timeout = AbortSignal.timeout(this.#timeoutMs);
      const signal = request.signal ? AbortSignal.any([request.signal, timeout]) : timeout;
      try {
        const body = await this.#send(request, signal);
        return (await readJson(body)) as T;
      } catch (error) {
        if (!isKubeError(error, 429) || attempt === tries) throw error;
        const waitMs = error.retryAfterMs ?? pauseMs;
        if (waitMs > this.#timeoutMs || !(await sleep(waitMs, request.signal))) throw error;
      }
    }
  }

  /** One request whose answer goes on for as long as `signal` lets it; it ends, or throws `KubeError`, when the server does. */
  async stream(request: KubeRequest & { readonly signal: AbortSignal }): Promise<Dispatcher.ResponseData['body']> {
    const opening = new AbortController();
    const timer = setTimeout(() => opening.abort(new Error('no answer in time')), this.#timeoutMs);
    try {
      return await this.#send(request, AbortSignal.any([request.signal, opening.signal]));
    } finally {
      clearTimeout(timer);
    }
  }

  close(): Promise<void> {
    return this.#credentials.close();
  }

  async #send(request: KubeRequest, signal: AbortSignal): Promise<Dispatcher.ResponseData['body']> {
    const { method, path, query, body, contentType = 'application/json', accept = 'application/json' } = request;
    const { server } = this.#credentials;
    let answer: Dispatcher.ResponseData;
    try {
      const { headers, dispatcher } = await this.#credentials.sign();
      answer = await dispatcher.request({
        origin: server.origin,
        path: `${server.pathname.replace(/\/$/, '')}${path}`,
        method,
        query: definedOf(query),
        headers: { ...headers, accept, ...(body === undefined ? {} : { 'content-type': contentType }) },
        body: body === undefined ? null : JSON.stringify(body),
        signal,
        // A watch may be silent for long; its reader knows for how long.
        headersTimeout: 0,
        bodyTimeout: 0,
      });
    } catch (error) {
      throw KubeError.unreachable(signal.aborted ? signal.reason : error);
    }
    if (answer.statusCode < 300) return answer.body;
    const retryAfter = [answer.headers['retry-after']].flat()[0];
    throw KubeError.of(answer.statusCode, await readStatus(answer.body), retryAfter);
  }
}

function definedOf(query: KubeRequest['query'] = {}): Record<string, string> {
  return Object.fromEntries(
    Object.entries(query).flatMap(([key, value]) => (value === undefined ? [] : [[key, String(value)]])),
  );
}

async function readJson(body: Dispatcher.ResponseData['body']): Promise<unknown> {
  const value = jsonOf(await readAtMost(body, maxAnswerBytes));
  if (value === undefined) throw KubeError.unreachable(new Error('what it answered is no JSON'));
  return value;
}

async function readAtMost(body: Dispatcher.ResponseData['body'], bytes: number): Promise<Uint8Array> {
  try {
    return await readAll(body, bytes, () => new Error(`it answered more than ${bytes} bytes`));
  } catch (error) {
    throw KubeError.unreachable(error);
  } finally {
    body.on('error', () => undefined); // Destroyed before its end, it says so.
    body.destroy();
  }
}

/** The server's own `Status`; what stands before it (a proxy) may say anything. */
async function readStatus(body: Dispatcher.ResponseData['body']): Promise<unknown> {
  const bytes = await readAtMost(body, maxStatusBytes);
  return jsonOf(bytes) ?? { message: bufferOf(bytes).toString().slice(0, 300) };
}
