import { listOf } from './fake-defaults.ts';
import type { Deletes } from './fake-deletes.ts';
import { isObject, type Json, type KubeObject, nameSuffix, sameJson, timeNow } from './fake-objects.ts';
import { endpointSlices, pods, services } from './fake-resources.ts';
import { selects } from './fake-selectors.ts';
import type { Change, Store } from './fake-store.ts';
import { isServing } from './fake-workloads.ts';

/** So many endpoints a slice has at most. */
const largestSlice = 100;

/** The controller of endpoint slices: for each service the pods that it selects, and whether they are ready. */
export class Slices {
  readonly #store: Store;
  readonly #deletes: Deletes;
  readonly #waiting = new Set<string>();

  constructor(store: Store, deletes: Deletes) {
    this.#store = store;
    this.#deletes = deletes;
    store.onChange((change) => this.#changed(change));
  }

  #changed({ resource, object, type }: Change): void {
    const { namespace = '', name, labels } = object.metadata;
    if (resource === services && type !== 'DELETED') this.#soon(`${namespace}/${name}`);
    if (resource === endpointSlices && type === 'DELETED') {
      // One that somebody deleted is made again.
      this.#soon(`${namespace}/${labels?.['kubernetes.io/service-name'] ?? ''}`);
    }
    if (resource !== pods) return;
    for (const service of this.#store.list(services, namespace)) {
      if (isSelected(service, object)) this.#soon(`${namespace}/${service.metadata.name}`);
    }
  }

  #soon(key: string): void {
    if (this.#waiting.has(key)) return;
    this.#waiting.add(key);
    setImmediate(() => {
      this.#waiting.delete(key);
      const service = this.#store.get(services, key);
      if (service && isObject(service.spec?.['selector'])) this.#reconcile(service);
    });
  }

  #reconcile(service: KubeObject): void {
    const { uid, namespace } = service.metadata;
    const selected = this.#store.list(pods, namespace).filter((pod) => isSelected(service, pod));
    const endpoints = selected.flatMap(endpointOf);
    const parts = Array.from({ length: Math.max(1, Math.ceil(endpoints.length / largestSlice)) }, (_, index) =>
      endpoints.slice(index * largestSlice, (index + 1) * largestSlice),
    );
    const have = this.#deletes.dependentsOf(uid, endpointSlices);
    parts.forEach((part, index) => this.#put(service, have[index], part, portsOf(service, selected)));
    for (const slice of have.slice(parts.length)) {
      this.#store.delete(endpointSlices, `${namespace}/${slice.metadata.name}`);
    }
  }

  #put(service: KubeObject, before: KubeObject | undefined, found: readonly Json[], ports: readonly Json[]): void {
    // Where nothing is selected the real one writes null, and no empty list.
    const endpoints = found.length === 0 ? null : found;
    const told = { addressType: 'IPv4', endpoints, ports: endpoints === null ? null : ports };
    if (!before) {
      this.#store.put(endpointSlices, { ...sliceOf(service), ...told });
      return;
    }
    if (sameJson(before['endpoints'], told.endpoints) && sameJson(before['ports'], told.ports)) return;
    const generation = (before.metadata.generation ?? 1) + 1;
    this.#store.put(endpointSlices, { ...before, ...told, metadata: { ...before.metadata, generation } });
  }
}

function isSelected(service: KubeObject, { metadata }: KubeObject): boolean {
  const selector = service.spec?.['selector'];
  return isObject(selector) && selects({ matchLabels: selector as Record<string, string> }, metadata.labels);
}

function endpointOf(pod: KubeObject): Json[] {
  const { status, metadata } = pod;
  const address = status?.['podIP'];
  if (address === undefined) return [];
  const serving = isServing(pod);
  const terminating = metadata.deletionTimestamp !== undefined;
  return [
    {
      addresses: [address],
      conditions: { ready: serving && !terminating, serving, terminating },
      targetRef: { kind: 'Pod', namespace: metadata.namespace ?? '', name: metadata.name, uid: metadata.uid },
      nodeName: 'fake-1',
    },
  ];
}

/** A target port may be the name of a container's port. */
function portsOf(service: KubeObject, [pod]: readonly KubeObject[]): Json[] {
  return listOf(service.spec?.['ports']).map((port) => {
    const { name = '', protocol = 'TCP', targetPort } = port;
    const named = listOf(pod?.spec?.['containers'])
      .flatMap((container) => listOf(container['ports']))
      .find((one) => one['name'] === targetPort);
    return { name, protocol, port: typeof targetPort === 'number' ? targetPort : (named?.['containerPort'] ?? null) };
  });
}

function sliceOf({ metadata: { name, namespace = '', uid } }: KubeObject): KubeObject {
  const labels = {
    'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
    'kubernetes.io/service-name': name,
  };
  const generateName = `${name}-`;
  const owner = { apiVersion: 'v1', kind: 'Service', name, uid, controller: true, blockOwnerDeletion: true };
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: `${generateName}${nameSuffix()}`,
      generateName,
      namespace,
      uid: '',
      resourceVersion: '',
      generation: 1,
      creationTimestamp: timeNow(),
      labels,
      ownerReferences: [owner],
    },
  };
}
