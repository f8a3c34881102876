import { type Endpoint, endpointsOf } from './endpoints.ts';
import type { Informer, InformerEvent } from './informer.ts';
import type { KubeEndpointSlice } from './kinds.ts';
import { serviceNameLabel } from './objects/words.ts';

/** The endpoint slices by their Service, of which one may have several. */
export class Slices {
  readonly #byService = new Map<string, Map<string, KubeEndpointSlice>>();
  readonly #onChange: (namespace: string, service: string) => void;
  readonly #end: () => void;

  constructor(informer: Informer<KubeEndpointSlice>, onChange: (namespace: string, service: string) => void) {
    this.#onChange = onChange;
    for (const slice of informer.list()) this.#put(slice);
    this.#end = informer.onEvent((event) => this.#take(event));
  }

  of(namespace: string, service: string): Endpoint[] {
    return endpointsOf(this.#byService.get(`${namespace}/${service}`)?.values() ?? []);
  }

  stop(): void {
    this.#end();
  }

  #take(event: InformerEvent<KubeEndpointSlice>): void {
    const { object } = event;
    const before = event.type === 'changed' ? event.before : object;
    // A slice may be given to another Service.
    if (event.type === 'removed' || serviceOf(before) !== serviceOf(object)) this.#remove(before);
    if (event.type !== 'removed') this.#put(object);
  }

  #put(slice: KubeEndpointSlice): void {
    const { name, namespace = '' } = slice.metadata;
    const service = serviceOf(slice);
    if (service === undefined) return;
    const key = `${namespace}/${service}`;
    const slices = this.#byService.get(key) ?? new Map<string, KubeEndpointSlice>();
    slices.set(name, slice);
    this.#byService.set(key, slices);
    this.#onChange(namespace, service);
  }

  #remove(slice: KubeEndpointSlice): void {
    const { name, namespace = '' } = slice.metadata;
    const service = serviceOf(slice);
    if (service === undefined) return;
    const key = `${namespace}/${service}`;
    const slices = this.#byService.get(key);
    slices?.delete(name);
    if (slices?.size === 0) this.#byService.delete(key);
    this.#onChange(namespace, service);
  }
}

function serviceOf({ metadata: { labels } }: KubeEndpointSlice): string | undefined {
  return labels?.[serviceNameLabel];
}
