import { isObject, type Json, type JsonObject, textOf } from './fake-objects.ts';
import {
  configMaps,
  deployments,
  namespaces,
  pods,
  replicaSets,
  type Resource,
  secrets,
  services,
} from './fake-resources.ts';

type Draft = Record<string, Json>;

/** What the API server fills in that was left out: who compares what he sent with what is kept meets it. */
export function withDefaults(resource: Resource, object: JsonObject): JsonObject {
  const draft = structuredClone(object) as Draft;
  const spec = isObject(draft['spec']) ? draft['spec'] : undefined;
  switch (resource) {
    case deployments:
      deploymentDefaults((draft['spec'] = spec ?? {}));
      break;
    case replicaSets:
      if (spec) fill(spec, { replicas: 1 });
      podTemplateDefaults(spec?.['template']);
      break;
    case pods:
      if (spec) podDefaults(spec);
      break;
    case services:
      serviceDefaults((draft['spec'] = spec ?? {}));
      break;
    case namespaces:
      draft['spec'] = { finalizers: ['kubernetes'] };
      draft['status'] ??= { phase: 'Active' };
      break;
    case secrets:
      secretDefaults(draft);
      break;
    case configMaps:
      break;
    default:
      if (resource.kind === 'HorizontalPodAutoscaler' && spec) fill(spec, { minReplicas: 1 });
  }
  return draft;
}

function fill(draft: Draft, values: JsonObject): void {
  for (const [name, value] of Object.entries(values)) draft[name] ??= value;
}

function deploymentDefaults(spec: Draft): void {
  fill(spec, { replicas: 1, revisionHistoryLimit: 10, progressDeadlineSeconds: 600, strategy: {} });
  const strategy = spec['strategy'] as Draft;
  fill(strategy, { type: 'RollingUpdate' });
  if (strategy['type'] === 'RollingUpdate') {
    fill(strategy, { rollingUpdate: {} });
    fill(strategy['rollingUpdate'] as Draft, { maxUnavailable: '25%', maxSurge: '25%' });
  }
  podTemplateDefaults(spec['template']);
}

function podTemplateDefaults(template: Json | undefined): void {
  if (isObject(template) && isObject(template['spec'])) podDefaults(template['spec']);
}

function podDefaults(spec: Draft): void {
  fill(spec, {
    restartPolicy: 'Always',
    terminationGracePeriodSeconds: 30,
    dnsPolicy: 'ClusterFirst',
    securityContext: {},
    schedulerName: 'default-scheduler',
  });
  // The old name of the field is kept beside the new one.
  if (spec['serviceAccountName'] !== undefined) spec['serviceAccount'] = spec['serviceAccountName'];
  for (const container of listOf(spec['containers'])) containerDefaults(container);
  for (const container of listOf(spec['initContainers'])) containerDefaults(container);
  for (const volume of listOf(spec['volumes'])) volumeDefaults(volume);
}

function containerDefaults(container: Draft): void {
  const image = typeof container['image'] === 'string' ? container['image'] : '';
  const tag = /:([^/@]+)$/.exec(image)?.[1];
  const latest = (tag ?? 'latest') === 'latest' && !image.includes('@');
  fill(container, {
    resources: {},
    terminationMessagePath: '/dev/termination-log',
    terminationMessagePolicy: 'File',
    imagePullPolicy: latest ? 'Always' : 'IfNotPresent',
  });
  for (const name of ['livenessProbe', 'readinessProbe', 'startupProbe']) {
    const probe = container[name];
    if (isObject(probe)) probeDefaults(probe);
  }
  for (const variable of listOf(container['env'])) {
    const source = variable['valueFrom'];
    if (isObject(source) && isObject(source['fieldRef'])) fill(source['fieldRef'], { apiVersion: 'v1' });
  }
}

function probeDefaults(probe: Draft): void {
  fill(probe, { timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3 });
  const get = probe['httpGet'];
  if (isObject(get)) fill(get, { path: '/', scheme: 'HTTP' });
}

function volumeDefaults(volume: Draft): void {
  for (const name of ['secret', 'configMap', 'projected', 'downwardAPI']) {
    const source = volume[name];
    if (isObject(source)) fill(source, { defaultMode: 420 });
  }
  if (Object.keys(volume).length === 1) volume['emptyDir'] = {};
}

function serviceDefaults(spec: Draft): void {
  fill(spec, { type: 'ClusterIP', sessionAffinity: 'None' });
  if (spec['type'] === 'ExternalName') return;
  fill(spec, { ipFamilies: ['IPv4'], ipFamilyPolicy: 'SingleStack', internalTrafficPolicy: 'Cluster' });
  for (const port of listOf(spec['ports'])) fill(port, { targetPort: port['port'] ?? 0, protocol: 'TCP' });
}

function secretDefaults(draft: Draft): void {
  fill(draft, { type: 'Opaque' });
  const { stringData } = draft;
  delete draft['stringData'];
  if (!isObject(stringData)) return;
  const encoded = Object.entries(stringData).map(([key, value]) => [
    key,
    Buffer.from(textOf(value)).toString('base64'),
  ]);
  draft['data'] = { ...(draft['data'] as JsonObject | undefined), ...Object.fromEntries(encoded) };
}

export function listOf(value: Json | undefined): Draft[] {
  return Array.isArray(value) ? (value as readonly Json[]).filter((item) => isObject(item)).map((item) => item) : [];
}
