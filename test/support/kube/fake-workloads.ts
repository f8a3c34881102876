import { createHash } from 'node:crypto';
import { listOf } from './fake-defaults.ts';
import type { Deletes } from './fake-deletes.ts';
import {
  type Json,
  type JsonObject,
  keyOf,
  type KubeObject,
  type Metadata,
  nameSuffix,
  type OwnerReference,
  sameJson,
  timeNow,
} from './fake-objects.ts';
import { deployments, pods, replicaSets, type Resource } from './fake-resources.ts';
import type { Change, Store } from './fake-store.ts';

interface Template {
  readonly metadata?: {
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec?: JsonObject;
}

interface WorkloadSpec {
  readonly replicas?: number;
  readonly selector: JsonObject;
  readonly template: Template;
  readonly progressDeadlineSeconds?: number;
}

/** Whether its containers answer, be it on its way out or not. */
export function isServing({ status }: KubeObject): boolean {
  return listOf(status?.['conditions']).some(
    (condition) => condition['type'] === 'Ready' && condition['status'] === 'True',
  );
}

export function isReady(pod: KubeObject): boolean {
  return isServing(pod) && pod.metadata.deletionTimestamp === undefined;
}

function workloadSpec({ spec }: KubeObject): WorkloadSpec {
  return spec as unknown as WorkloadSpec;
}

/** The controllers of Deployments and ReplicaSets: they make pods, replace those that are gone, and tell how it stands. */
export class Workloads {
  readonly #store: Store;
  readonly #deletes: Deletes;
  readonly #waiting = new Set<string>();
  readonly #deadlines = new Map<string, NodeJS.Timeout>();

  constructor(store: Store, deletes: Deletes) {
    this.#store = store;
    this.#deletes = deletes;
    store.onChange((change) => this.#changed(change));
  }

  stop(): void {
    for (const timer of this.#deadlines.values()) clearTimeout(timer);
    this.#deadlines.clear();
  }

  #changed({ resource, object, type }: Change): void {
    if (resource === deployments) {
      if (type === 'DELETED') this.#forget(keyOf(object.metadata));
      else this.#soon(object.metadata.namespace, object.metadata.name);
      return;
    }
    if (resource !== pods && resource !== replicaSets) return;
    for (const { kind, name } of object.metadata.ownerReferences ?? []) {
      if (kind === 'Deployment') this.#soon(object.metadata.namespace, name);
      if (kind !== 'ReplicaSet') continue;
      const set = this.#store.get(replicaSets, `${object.metadata.namespace}/${name}`);
      const owner = set?.metadata.ownerReferences?.[0]?.name;
      if (owner !== undefined) this.#soon(object.metadata.namespace, owner);
    }
  }

  /** Once for all that happens in this turn. */
  #soon(namespace = '', name: string): void {
    const key = `${namespace}/${name}`;
    if (this.#waiting.has(key)) return;
    this.#waiting.add(key);
    setImmediate(() => {
      this.#waiting.delete(key);
      const deployment = this.#store.get(deployments, key);
      if (deployment && deployment.metadata.deletionTimestamp === undefined) this.#reconcile(deployment);
    });
  }

  #reconcile(deployment: KubeObject): void {
    const spec = workloadSpec(deployment);
    const sets = this.#ownedBy(replicaSets, deployment);
    const hash = hashOf(spec.template);
    const current = sets.find(({ metadata }) => metadata.labels?.['pod-template-hash'] === hash);
    if (!current) {
      this.#store.put(replicaSets, replicaSetOf(deployment, spec, hash));
      return; // Which brings us here again.
    }
    const replicas = spec.replicas ?? 1;
    if (workloadSpec(current).replicas !== replicas) {
      this.#store.put(replicaSets, this.#resized(current, replicas));
      return;
    }
    const fresh = this.#ownedBy(pods, current);
    const old = sets.filter((set) => set !== current);
    // Old pods go when new ones are ready in their place.
    const ready = fresh.filter(isReady).length;
    if (ready >= replicas) {
      for (const set of old) if (workloadSpec(set).replicas !== 0) this.#store.put(replicaSets, this.#resized(set, 0));
    }
    for (const set of [current, ...old]) this.#fill(set);
    this.#report(
      deployment,
      spec,
      fresh,
      old.flatMap((set) => this.#ownedBy(pods, set)),
    );
  }

  #resized(set: KubeObject, replicas: number): KubeObject {
    const generation = (set.metadata.generation ?? 1) + 1;
    return { ...set, metadata: { ...set.metadata, generation }, spec: { ...set.spec, replicas } };
  }

  /** As many pods as the set says: those that are on their way out do not count. */
  #fill(set: KubeObject): void {
    const wanted = workloadSpec(set).replicas ?? 1;
    const alive = this.#ownedBy(pods, set).filter(({ metadata }) => metadata.deletionTimestamp === undefined);
    for (let index = alive.length; index < wanted; index++) this.#store.put(pods, podOf(set));
    // Those that are not ready go first.
    const leaving = alive.sort((left, right) => Number(isReady(left)) - Number(isReady(right)));
    for (const { metadata, spec } of leaving.slice(0, Math.max(0, alive.length - wanted))) {
      const grace = Number(spec?.['terminationGracePeriodSeconds'] ?? 30);
      const options = { dryRun: false, propagation: 'Background' as const, gracePeriodSeconds: grace };
      this.#deletes.delete(pods, metadata.namespace, metadata.name, options);
    }
  }

  #ownedBy(resource: Resource, owner: KubeObject): KubeObject[] {
    const { uid, namespace } = owner.metadata;
    return this.#deletes.dependentsOf(uid, resource).filter(({ metadata }) => metadata.namespace === namespace);
  }

  #report(deployment: KubeObject, spec: WorkloadSpec, fresh: readonly KubeObject[], old: readonly KubeObject[]): void {
    const alive = [...fresh, ...old].filter(({ metadata }) => metadata.deletionTimestamp === undefined);
    const updated = fresh.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
    const ready = alive.filter(isReady).length;
    const wanted = spec.replicas ?? 1;
    const late = this.#isLate(deployment, spec, updated.filter(isReady).length >= wanted);
    const counts = {
      replicas: alive.length,
      updatedReplicas: updated.length,
      readyReplicas: ready,
      availableReplicas: ready,
      unavailableReplicas: Math.max(0, wanted - ready),
      terminatingReplicas: fresh.length + old.length - alive.length,
    };
    const told = Object.entries(counts).filter(([name, count]) => count > 0 || name === 'terminatingReplicas');
    const status: JsonObject = {
      observedGeneration: deployment.metadata.generation ?? 1,
      ...Object.fromEntries(told),
      conditions: conditionsOf(deployment, ready >= wanted - Math.floor(wanted / 4), ready >= wanted, late),
    };
    if (sameJson(deployment.status, status)) return;
    const annotations = { ...deployment.metadata.annotations, 'deployment.kubernetes.io/revision': '1' };
    this.#store.put(deployments, { ...deployment, metadata: { ...deployment.metadata, annotations }, status });
  }

  /** Whether its pods have not become ready within `progressDeadlineSeconds`. */
  #isLate(deployment: KubeObject, { progressDeadlineSeconds = 600 }: WorkloadSpec, isDone: boolean): boolean {
    const key = keyOf(deployment.metadata);
    if (isDone) {
      this.#forget(key);
      return false;
    }
    if (conditionOf(deployment, 'Progressing')?.['reason'] === 'ProgressDeadlineExceeded') return true;
    const generation = `${key} ${deployment.metadata.generation}`;
    if (this.#deadlines.has(generation)) return false;
    this.#forget(key);
    const timer = setTimeout(() => this.#expire(key), progressDeadlineSeconds * 1000);
    this.#deadlines.set(generation, timer.unref());
    return false;
  }

  #expire(key: string): void {
    const deployment = this.#store.get(deployments, key);
    if (!deployment) return;
    const conditions = conditionsOf(deployment, false, false, true);
    this.#store.put(deployments, { ...deployment, status: { ...deployment.status, conditions } });
  }

  #forget(key: string): void {
    for (const [known, timer] of this.#deadlines) {
      if (!known.startsWith(`${key} `)) continue;
      clearTimeout(timer);
      this.#deadlines.delete(known);
    }
  }
}

function conditionsOf(deployment: KubeObject, isAvailable: boolean, isDone: boolean, isLate: boolean): Json[] {
  const name = deployment.metadata.name;
  const available = isAvailable
    ? ['True', 'MinimumReplicasAvailable', 'Deployment has minimum availability.']
    : ['False', 'MinimumReplicasUnavailable', 'Deployment does not have minimum availability.'];
  const progressing = isLate
    ? ['False', 'ProgressDeadlineExceeded', `Deployment "${name}" has timed out progressing.`]
    : isDone
      ? ['True', 'NewReplicaSetAvailable', `Deployment "${name}" has successfully progressed.`]
      : ['True', 'ReplicaSetUpdated', `Deployment "${name}" is progressing.`];
  return [condition(deployment, 'Available', available), condition(deployment, 'Progressing', progressing)];
}

function condition(deployment: KubeObject, type: string, [status = '', reason = '', message = '']: string[]): Json {
  const before = conditionOf(deployment, type);
  const now = timeNow();
  const same = before?.['status'] === status && before['reason'] === reason;
  const lastUpdateTime = same ? (before['lastUpdateTime'] ?? now) : now;
  const lastTransitionTime = before?.['status'] === status ? (before['lastTransitionTime'] ?? now) : now;
  return { type, status, lastUpdateTime, lastTransitionTime, reason, message };
}

function conditionOf({ status }: KubeObject, type: string): JsonObject | undefined {
  return listOf(status?.['conditions']).find((one) => one['type'] === type);
}

function hashOf(template: Template): string {
  return createHash('sha256').update(JSON.stringify(template)).digest('hex').slice(0, 10);
}

function ownedBy(owner: KubeObject): { readonly ownerReferences: readonly OwnerReference[] } {
  const { apiVersion, kind, metadata } = owner;
  const { name, uid } = metadata;
  return { ownerReferences: [{ apiVersion, kind, name, uid, controller: true, blockOwnerDeletion: true }] };
}

function replicaSetOf(deployment: KubeObject, spec: WorkloadSpec, hash: string): KubeObject {
  const { name, namespace = '' } = deployment.metadata;
  const labels = { ...spec.template.metadata?.labels, 'pod-template-hash': hash };
  const template = { ...spec.template, metadata: { ...spec.template.metadata, labels } };
  return {
    apiVersion: 'apps/v1',
    kind: 'ReplicaSet',
    metadata: made({ name: `${name}-${hash}`, namespace, labels, generation: 1, ...ownedBy(deployment) }),
    spec: { replicas: spec.replicas ?? 1, selector: { matchLabels: labels }, template },
  };
}

function podOf(set: KubeObject): KubeObject {
  const { name, namespace = '' } = set.metadata;
  const { metadata, spec = {} } = workloadSpec(set).template;
  const { labels = {}, annotations } = metadata ?? {};
  const generateName = `${name}-`;
  const named = { name: `${generateName}${nameSuffix()}`, generateName, namespace, generation: 1, labels };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: made({ ...named, ...(annotations && { annotations }), ...ownedBy(set) }),
    spec: { ...spec, nodeName: 'fake-1', serviceAccountName: spec['serviceAccountName'] ?? 'default' },
    status: { phase: 'Pending' },
  };
}

/** The store gives it its uid and version. */
function made(metadata: Omit<Metadata, 'uid' | 'resourceVersion' | 'creationTimestamp'>): Metadata {
  return { ...metadata, uid: '', resourceVersion: '', creationTimestamp: timeNow() };
}
