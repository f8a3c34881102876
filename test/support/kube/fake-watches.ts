import type { ServerResponse } from 'node:http';
import { apiVersionOf, qualifiedName, type Resource } from './fake-resources.ts';
import type { KubeObject } from './fake-objects.ts';
import type { Matcher } from './fake-selectors.ts';
import { type ApiError, expired } from './fake-status.ts';
import type { Change, Store } from './fake-store.ts';

export interface WatchRequest {
  readonly resource: Resource;
  readonly namespace: string | undefined;
  readonly matches: Matcher;
  /** As the client gave it; without one, and with 0, what is there comes first. */
  readonly version: string | undefined;
  readonly bookmarks: boolean;
  /** Asked for what is there by `sendInitialEvents`. */
  readonly initial: boolean;
  readonly timeoutSeconds: number;
  /** What the client sees of an object: itself, or its metadata only. */
  readonly present: (object: KubeObject) => object;
}

/** The watches that are open: streams of changes, one line of JSON each. */
export class Watches {
  readonly #store: Store;
  readonly #open = new Set<Watch>();
  readonly #bookmarkMs: number;
  #stalled = false;

  constructor(store: Store, bookmarkMs: number) {
    this.#store = store;
    this.#bookmarkMs = bookmarkMs;
    store.onChange((change) => {
      if (!this.#stalled) for (const watch of this.#open) watch.tell(change);
    });
  }

  get size(): number {
    return this.#open.size;
  }

  /** How many watch that resource: `deployments.apps`. */
  countOf(qualified: string): number {
    return [...this.#open].filter(({ request }) => qualifiedName(request.resource) === qualified).length;
  }

  open(request: WatchRequest, response: ServerResponse): void {
    const watch = new Watch(request, response, () => this.#stalled);
    const timer = setTimeout(() => watch.end(), request.timeoutSeconds * 1000);
    const bookmarks = request.bookmarks
      ? setInterval(() => watch.bookmark(this.#store.version), this.#bookmarkMs)
      : undefined;
    this.#open.add(watch);
    response.on('close', () => {
      clearTimeout(timer);
      clearInterval(bookmarks);
      this.#open.delete(watch);
    });
    response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-cache, private' });
    response.flushHeaders();
    this.#catchUp(request, watch, response);
  }

  /** Breaks them all off in the middle, or those of one resource. */
  drop(qualified?: string): void {
    for (const { request, response } of this.#open) {
      if (qualified === undefined || qualifiedName(request.resource) === qualified) response.destroy();
    }
  }

  /** From now on nothing is told on any watch, though all stay open: as when a middlebox has lost them. */
  stall(): void {
    this.#stalled = true;
  }

  /** Watches opened from now on tell again. Those that were stalled stay so: what they missed never comes. */
  resume(): void {
    this.#stalled = false;
    for (const watch of this.#open) watch.mute();
  }

  #catchUp(
    { resource, namespace, version, initial, matches }: WatchRequest,
    watch: Watch,
    response: ServerResponse,
  ): void {
    const fromStart = version === undefined || version === '' || version === '0';
    if (!fromStart) {
      const since = Number(version);
      if (since < this.#store.oldest) {
        watch.error(expired(since, this.#store.oldest));
        response.end();
        return;
      }
      for (const change of this.#store.since(resource, since)) watch.tell(change);
      return;
    }
    for (const object of this.#store.list(resource, namespace)) if (matches(object)) watch.send('ADDED', object);
    if (initial || watch.request.bookmarks) watch.bookmark(this.#store.version, true);
  }
}

class Watch {
  readonly request: WatchRequest;
  readonly response: ServerResponse;
  readonly #isStalled: () => boolean;
  #muted = false;

  constructor(request: WatchRequest, response: ServerResponse, isStalled: () => boolean) {
    this.request = request;
    this.response = response;
    this.#isStalled = isStalled;
  }

  /** Those that the selector leaves out are not told; one that comes to fit is new, and one that fits no more is gone. */
  tell({ resource, type, object, before }: Change): void {
    const { request } = this;
    if (qualifiedName(resource) !== qualifiedName(request.resource)) return;
    if (request.namespace !== undefined && object.metadata.namespace !== request.namespace) return;
    const did = before !== undefined && request.matches(before);
    const does = type !== 'DELETED' && request.matches(object);
    if (does) this.send(did ? 'MODIFIED' : 'ADDED', object);
    else if (did)
      this.send('DELETED', {
        ...before,
        metadata: { ...before.metadata, resourceVersion: object.metadata.resourceVersion },
      });
  }

  send(type: 'ADDED' | 'MODIFIED' | 'DELETED', object: KubeObject): void {
    this.#write({ type, object: this.request.present(object) });
  }

  bookmark(version: number, end = false): void {
    const { kind } = this.request.resource;
    const annotations = end ? { annotations: { 'k8s.io/initial-events-end': 'true' } } : {};
    const metadata = { resourceVersion: String(version), ...annotations };
    const bare = { kind, apiVersion: apiVersionOf(this.request.resource), metadata } as unknown as KubeObject;
    this.#write({ type: 'BOOKMARK', object: this.request.present(bare) });
  }

  error(error: ApiError): void {
    this.#write({ type: 'ERROR', object: error.body() });
  }

  end(): void {
    if (!this.#muted && !this.#isStalled()) this.response.end();
  }

  mute(): void {
    this.#muted = true;
  }

  #write(event: object): void {
    if (this.#muted || this.#isStalled()) return;
    this.response.write(`${JSON.stringify(event)}\n`);
  }
}
