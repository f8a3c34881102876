import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { messageOf } from '../../../core/contracts/errors.ts';
import { type KubeClient, type ListOf, metadataOnly } from './client.ts';
import type { Objects } from './informer.ts';
import { isKubeError, KubeError } from './kube-error.ts';
import { type Kind, type KubeObject, pathOf } from './kinds.ts';
import { jsonLines } from './json-lines.ts';
import { type WatchEvent, watchEventOf } from './watch-event.ts';

export interface Watched<T extends KubeObject> {
  readonly kind: Kind<T>;
  /** '' for what is of the whole cluster. */
  readonly namespace: string;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  /** Nothing but the metadata is asked for. */
  readonly metadataOnly?: boolean | undefined;
  /** The cluster need not know the kind, nor let us see it. */
  readonly optional?: boolean | undefined;
}

/** `absent`: the cluster does not know the kind or does not show it, and need not. `away`: the API server does not answer. */
export type ReflectorState = 'starting' | 'watching' | 'away' | 'absent';

/** Objects in one answer to a list. */
const pageSize = 500;
/** Between tries, ms: doubled each time, and half of it at random, so that gateways do not come back all at once. */
const backoffMs = { first: 250, most: 30_000 };
/** How often it looks whether the cluster has got an optional kind, ms. */
const absentMs = 60_000;
/** How much later than promised a watch may end, as a part of its time. */
const grace = 1 / 6;

/**
 * Keeps a cache as the API server has it, for ever: lists, then watches from there on. The client library's own informer
 * (its `ListWatch`) stops for good at the first error that is not a timeout, lists everything in one answer, asks for no
 * bookmarks, and drops what it cannot parse.
 */
export class Reflector<T extends KubeObject> {
  state: ReflectorState = 'starting';
  /** Why it is not watching. */
  lastError: string | undefined;
  readonly #client: KubeClient;
  readonly #watched: Watched<T>;
  readonly #objects: Objects<T>;
  readonly #watchMs: number;
  readonly #logger: Logger;
  readonly #stop = new AbortController();
  readonly #onState: () => void;
  /** Where the cache stands; undefined when it is to be listed. */
  #version: string | undefined;
  #failures = 0;

  constructor(
    client: KubeClient,
    watched: Watched<T>,
    objects: Objects<T>,
    settings: { watchMs: number; logger: Logger; onState: () => void },
  ) {
    this.#client = client;
    this.#watched = watched;
    this.#objects = objects;
    this.#watchMs = settings.watchMs;
    this.#onState = settings.onState;
    const { kind, namespace } = watched;
    this.#logger = settings.logger.child({ watched: kind.plural, ...(namespace && { namespace }) });
  }

  /** Runs until `stop`; rejects on a bug of ours only. */
  async run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      try {
        if (this.#version === undefined) await this.#list();
        await this.#watch();
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        if (!(error instanceof KubeError)) throw error;
        await this.#failed(error);
      }
    }
  }

  stop(): void {
    this.#stop.abort();
  }

  async #list(): Promise<void> {
    const { kind, namespace } = this.#watched;
    const items: T[] = [];
    let page: ListOf<T>;
    let next: string | undefined;
    do {
      page = await this.#client.ask<ListOf<T>>({
        method: 'GET',
        path: pathOf(kind, namespace || undefined),
        query: { ...this.#selectors(), limit: pageSize, continue: next },
        accept: this.#watched.metadataOnly ? metadataOnly.list : undefined,
        signal: this.#stop.signal,
      });
      for (const item of page.items ?? []) items.push(trimmed(item));
      next = page.metadata.continue || undefined;
    } while (next !== undefined);
    this.#version = page.metadata.resourceVersion;
    this.#objects.replace(namespace, items, this.#version);
    this.#is('watching');
  }

  /** Until the server ends it, which it was asked to do: a broken connection need not be told by anybody. */
  async #watch(): Promise<void> {
    const { kind, namespace } = this.#watched;
    const began = performance.now();
    const silence = AbortSignal.timeout(Math.ceil(this.#watchMs * (1 + grace)));
    const signal = AbortSignal.any([this.#stop.signal, silence]);
    const body = await this.#client.stream({
      method: 'GET',
      path: pathOf(kind, namespace || undefined),
      query: {
        ...this.#selectors(),
        watch: true,
        allowWatchBookmarks: true,
        resourceVersion: this.#version,
        timeoutSeconds: Math.ceil(this.#watchMs / 1000),
      },
      accept: this.#watched.metadataOnly ? metadataOnly.object : undefined,
      signal,
    });
    this.#is('watching');
    let seen = 0;
    for await (const event of jsonLines(body, signal)) {
      this.#take(watchEventOf<T>(event));
      seen++;
    }
    // A server that ends each watch at once is not asked again at once.
    if (seen === 0 && performance.now() - began < 1000) throw new KubeError('the watch ended at once', noReason);
    this.#failures = 0;
  }

  #take({ type, object }: WatchEvent<T>): void {
    const { namespace } = this.#watched;
    if (type === 'ERROR') throw KubeError.of(500, object);
    const known = object as T;
    if (type === 'DELETED') this.#objects.remove(namespace, known.metadata.name, known.metadata.uid);
    else if (type !== 'BOOKMARK') this.#objects.put(namespace, trimmed(known));
    this.#version = known.metadata.resourceVersion;
    this.#failures = 0;
  }

  async #failed(error: KubeError): Promise<void> {
    const isAbsent = this.#watched.optional && isKubeError(error, 403, 404);
    if (error.isExpired || isAbsent) this.#version = undefined;
    if (isAbsent) {
      this.#objects.clear(this.#watched.namespace);
      this.#is('absent', error);
      return this.#pause(absentMs, 0);
    }
    if (error.isExpired && this.#failures++ === 0) return;
    // One that breaks and can be taken up at once is nothing that anybody need know.
    if (!error.isExpired && (this.#failures > 0 || error.status !== 0)) this.#is('away', error);
    const ceiling = Math.min(backoffMs.most, backoffMs.first * 2 ** this.#failures++);
    await this.#pause(ceiling, error.retryAfterMs ?? 0);
  }

  /** `leastMs`, and between half of `ms` and all of it. */
  async #pause(ms: number, leastMs: number): Promise<void> {
    const { signal } = this.#stop;
    await delay(leastMs + ms * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => {}); // Aborted: `run` looks.
  }

  #is(state: ReflectorState, error?: KubeError): void {
    const isNews = this.state !== state;
    this.state = state;
    this.lastError = error && messageOf(error);
    if (!isNews) return;
    if (state === 'away') this.#logger.warn({ reason: this.lastError }, 'not watching now; what is known stays in use');
    else if (state === 'absent') this.#logger.info({ reason: this.lastError }, 'the cluster has none of these');
    else this.#logger.debug('watching');
    this.#onState();
  }

  #selectors(): Record<string, string | undefined> {
    const { labelSelector, fieldSelector } = this.#watched;
    return { labelSelector, fieldSelector };
  }
}

const noReason = { status: 0, reason: 'Unreachable' } as const;

/** Without the history of who set which field, which is half of an object and of use to nobody here. */
function trimmed<T extends KubeObject>(object: T): T {
  delete object.metadata.managedFields;
  return object;
}
