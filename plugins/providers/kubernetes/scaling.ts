import type { KubeClient } from './client.ts';
import type { Informer, InformerEvent } from './informer.ts';
import { isKubeError } from './kube-error.ts';
import { type KubeAutoscaler, type KubeObject, type KubeScaledObject, kinds, pathOf } from './kinds.ts';

/** `Scale` of autoscaling/v1. Zero replicas are left out. */
interface Scale {
  readonly metadata: { readonly resourceVersion: string };
  readonly spec: { readonly replicas?: number };
}

/** A write that met another one is tried so often. */
const tries = 5;

export interface ScaleRequest {
  readonly namespace: string;
  readonly name: string;
  readonly replicas: number;
  /**
   * It is woken: what somebody else has made of it meanwhile is not taken back, since gateways that see a first call do
   * not see each other.
   */
  readonly isFromZero: boolean;
  /** Of the Deployment as it is known to have none. */
  readonly version?: string | undefined;
}

/** Gives the version of the Deployment from which on it has so many replicas. Rejects with `KubeError`. */
export async function writeScale(client: KubeClient, request: ScaleRequest): Promise<string> {
  const { namespace, name, replicas, isFromZero } = request;
  const path = pathOf(kinds.deployments, namespace, name, 'scale');
  let { version } = request;
  for (let attempt = 1; ; attempt++) {
    if (isFromZero && version === undefined) {
      const { metadata, spec } = await client.ask<Scale>({ method: 'GET', path });
      version = metadata.resourceVersion;
      if ((spec.replicas ?? 0) >= replicas) return version;
    }
    const metadata = isFromZero ? { resourceVersion: version } : {};
    try {
      const { metadata: written } = await client.patch<Scale>(path, 'merge-patch', { metadata, spec: { replicas } });
      return written.resourceVersion;
    } catch (error) {
      if (!isKubeError(error, 409) || attempt === tries) throw error;
      version = undefined;
    }
  }
}

interface Autoscalers {
  readonly autoscalers: Informer<KubeAutoscaler>;
  readonly scaledObjects: Informer<KubeScaledObject>;
}

/** Which Deployments something else scales: a HorizontalPodAutoscaler, or a ScaledObject of KEDA's. */
export class ScaleOwners {
  readonly #ends: readonly (() => void)[];
  /** By namespace and name of the Deployment: who scales it, each by kind and name. */
  readonly #owners = new Map<string, Set<string>>();
  readonly #onChange: (namespace: string, name: string) => void;

  constructor({ autoscalers, scaledObjects }: Autoscalers, onChange: (namespace: string, name: string) => void) {
    this.#onChange = onChange;
    this.#ends = [
      this.#follow(autoscalers, kinds.autoscalers.kind, ({ spec }) => spec?.scaleTargetRef),
      this.#follow(scaledObjects, kinds.scaledObjects.kind, ({ spec }) => spec.scaleTargetRef),
    ];
  }

  /** As `HorizontalPodAutoscaler resize`. KEDA works by an autoscaler of its own, and is what a person would change. */
  of(namespace: string, name: string): string | undefined {
    const owners = [...(this.#owners.get(`${namespace}/${name}`) ?? [])];
    return owners.find((owner) => owner.startsWith(kinds.scaledObjects.kind)) ?? owners[0];
  }

  stop(): void {
    for (const end of this.#ends) end();
  }

  #follow<T extends KubeObject>(
    informer: Informer<T>,
    kind: string,
    targetOf: (object: T) => { readonly kind?: string; readonly name: string } | undefined,
  ): () => void {
    const set = (object: T, isThere: boolean): void => {
      const target = targetOf(object);
      if (target && (target.kind ?? 'Deployment') === 'Deployment')
        this.#set(object, `${kind} ${object.metadata.name}`, target.name, isThere);
    };
    for (const object of informer.list()) set(object, true);
    return informer.onEvent((event: InformerEvent<T>) => {
      if (event.type === 'changed') set(event.before, false);
      set(event.object, event.type !== 'removed');
    });
  }

  #set({ metadata: { namespace = '' } }: KubeObject, owner: string, target: string, isThere: boolean): void {
    const key = `${namespace}/${target}`;
    const owners = this.#owners.get(key) ?? new Set();
    if (isThere) owners.add(owner);
    else owners.delete(owner);
    if (owners.size > 0) this.#owners.set(key, owners);
    else this.#owners.delete(key);
    this.#onChange(namespace, target);
  }
}
