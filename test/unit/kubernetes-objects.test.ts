import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Deployment } from '../../core/contracts/deployment.ts';
import type { KubeDeployment, KubeObject, KubeProfile } from '../../plugins/providers/kubernetes/kinds.ts';
import { changedDeployment, changedService, isAsWanted } from '../../plugins/providers/kubernetes/objects/change.ts';
import { functionObjects } from '../../plugins/providers/kubernetes/objects/function-objects.ts';
import type { PodSettings } from '../../plugins/providers/kubernetes/objects/pod.ts';
import { isSameQuantity } from '../../plugins/providers/kubernetes/objects/quantity.ts';
import { readDeployment } from '../../plugins/providers/kubernetes/objects/read.ts';
import { seed } from '../support/promise.ts';

const bare: Deployment = {
  service: 'thumbs',
  namespace: 'openfaas-fn',
  image: 'ghcr.io/openfaas/figlet:latest',
  envVars: {},
  constraints: [],
  secrets: [],
  labels: {},
  annotations: {},
};
const settings: PodSettings = { pullSecrets: new Set(), profiles: [], imagePullPolicy: 'Always', nonRoot: false };

function objectsOf(asked: Partial<Deployment> = {}, wishes: Partial<PodSettings> = {}) {
  return functionObjects({ ...bare, ...asked }, { ...settings, ...wishes });
}
function podOf(...args: Parameters<typeof objectsOf>) {
  const spec = objectsOf(...args).deployment.spec?.template.spec;
  if (!spec) throw new Error('no pod');
  return spec;
}
/** As the server keeps what it was sent. */
function kept<T extends { metadata: object }>(object: T): T & KubeObject {
  const copy = structuredClone(object);
  Object.assign(copy.metadata, { resourceVersion: '7', uid: 'u-1' });
  return copy as T & KubeObject;
}

describe('the objects of a function', () => {
  it('are what faas-netes makes of the least that can be asked for', () => {
    const { deployment, service } = objectsOf();
    const probe = {
      httpGet: { path: '/_/health', port: 8080, scheme: 'HTTP' },
      initialDelaySeconds: 0,
      periodSeconds: 2,
      timeoutSeconds: 1,
      failureThreshold: 3,
    };
    expect(deployment).toEqual({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: {
        name: 'thumbs',
        namespace: 'openfaas-fn',
        labels: { faas_function: 'thumbs' },
        annotations: { 'prometheus.io.scrape': 'false', 'millrace.dev/wanted': expect.stringMatching(/^[\w-]{22}$/) },
      },
      spec: {
        replicas: 1,
        revisionHistoryLimit: 10,
        selector: { matchLabels: { faas_function: 'thumbs' } },
        strategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
        template: {
          metadata: {
            name: 'thumbs',
            labels: { faas_function: 'thumbs' },
            annotations: { 'prometheus.io.scrape': 'false' },
          },
          spec: {
            containers: [
              {
                name: 'thumbs',
                image: 'ghcr.io/openfaas/figlet:latest',
                imagePullPolicy: 'Always',
                ports: [{ name: 'http', containerPort: 8080, protocol: 'TCP' }],
                env: [],
                livenessProbe: probe,
                readinessProbe: { ...probe, successThreshold: 1 },
                securityContext: {
                  allowPrivilegeEscalation: false,
                  capabilities: { drop: ['ALL'] },
                  readOnlyRootFilesystem: false,
                  seccompProfile: { type: 'RuntimeDefault' },
                },
              },
            ],
            restartPolicy: 'Always',
            dnsPolicy: 'ClusterFirst',
            enableServiceLinks: false,
            automountServiceAccountToken: false,
            securityContext: { seccompProfile: { type: 'RuntimeDefault' } },
          },
        },
      },
    });
    expect(service).toMatchObject({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'thumbs', namespace: 'openfaas-fn', labels: { faas_function: 'thumbs' } },
      spec: {
        type: 'ClusterIP',
        selector: { faas_function: 'thumbs' },
        ports: [{ name: 'http', protocol: 'TCP', port: 8080, targetPort: 8080 }],
      },
    });
  });

  it('have what was asked for where OpenFaaS has it', () => {
    const pod = podOf(
      {
        envProcess: 'node index.js',
        envVars: { ZONE: 'west', A: '' },
        constraints: ['disk=ssd', 'zone == west'],
        secrets: ['api-key', 'registry', 'other'],
        limits: { memory: '128Mi', 'nvidia.com/gpu': '1' },
        requests: { cpu: '100m' },
        readOnlyRootFilesystem: true,
        annotations: { 'com.openfaas.serviceaccount': 'reader' },
      },
      { pullSecrets: new Set(['registry']), nonRoot: true, imagePullPolicy: 'IfNotPresent' },
    );
    expect(pod).toMatchObject({
      nodeSelector: { disk: 'ssd', zone: 'west' },
      imagePullSecrets: [{ name: 'registry' }],
      serviceAccountName: 'reader',
      automountServiceAccountToken: true,
      volumes: [
        {
          name: 'thumbs-projected-secrets',
          projected: { sources: [{ secret: { name: 'api-key' } }, { secret: { name: 'other' } }] },
        },
        { name: 'temp', emptyDir: {} },
      ],
      securityContext: { runAsNonRoot: true, runAsUser: 12000, runAsGroup: 12000 },
    });
    expect(pod.containers[0]).toMatchObject({
      imagePullPolicy: 'IfNotPresent',
      env: [
        { name: 'A', value: '' },
        { name: 'ZONE', value: 'west' },
        { name: 'fprocess', value: 'node index.js' },
      ],
      resources: { limits: { memory: '128Mi', 'nvidia.com/gpu': '1' }, requests: { cpu: '100m' } },
      securityContext: { readOnlyRootFilesystem: true },
      volumeMounts: [
        { name: 'thumbs-projected-secrets', mountPath: '/var/openfaas/secrets', readOnly: true },
        { name: 'temp', mountPath: '/tmp' },
      ],
    });
  });

  it('ask as the annotations say whether the function is well and ready', () => {
    const annotations = {
      'com.openfaas.health.http.path': '/well',
      'com.openfaas.health.http.initialDelaySeconds': '5',
      'com.openfaas.ready.http.path': '/ready',
      'com.openfaas.ready.http.periodSeconds': '7',
      'com.openfaas.ready.http.successThreshold': '2',
    };
    const [container] = podOf({ annotations }).containers;
    expect(container?.livenessProbe).toMatchObject({ httpGet: { path: '/well' }, initialDelaySeconds: 5 });
    expect(container?.livenessProbe).not.toHaveProperty('successThreshold'); // Kubernetes takes none but 1 there.
    expect(container?.readinessProbe).toMatchObject({
      httpGet: { path: '/ready' },
      periodSeconds: 7,
      successThreshold: 2,
    });
  });

  it.each([
    [{ annotations: { 'com.openfaas.health.http.path': 'well' } }, 'com.openfaas.health.http.path'],
    [{ annotations: { 'com.openfaas.ready.http.periodSeconds': '0' } }, 'com.openfaas.ready.http.periodSeconds'],
    [
      { annotations: { 'com.openfaas.ready.http.failureThreshold': '3s' } },
      'failureThreshold: expected a whole number',
    ],
    [{ constraints: ['ssd'] }, 'constraints: expected KEY=VALUE of a label of nodes, got "ssd"'],
  ])('refuse %j by name', (asked, part) => {
    expect(() => objectsOf(asked)).toThrow(part);
  });

  it('have of profiles what is of pods, the later ones first', () => {
    const profile = (name: string, spec: KubeProfile['spec']): KubeProfile => ({
      metadata: { name, resourceVersion: '1' },
      spec,
    });
    const gpu = { key: 'gpu', operator: 'Exists' };
    const spot = { key: 'spot', operator: 'Exists' };
    const pod = podOf(
      {},
      {
        profiles: [
          profile('gpu', { tolerations: [gpu], runtimeClassName: 'nvidia', podSecurityContext: { fsGroup: 7 } }),
          profile('spot', { tolerations: [spot], runtimeClassName: 'gvisor', priorityClassName: 'low' }),
        ],
      },
    );
    expect(pod).toMatchObject({
      tolerations: [gpu, spot],
      runtimeClassName: 'gvisor',
      priorityClassName: 'low',
      securityContext: { fsGroup: 7, seccompProfile: { type: 'RuntimeDefault' } },
    });
    const hostile = { hostNetwork: true, containers: [] } as unknown as KubeProfile['spec'];
    expect(podOf({}, { profiles: [profile('hostile', hostile)] })).toEqual(podOf());
  });

  it('begin with as many replicas as the label says', () => {
    const replicas = (least: string) =>
      objectsOf({ labels: { 'com.openfaas.scale.min': least } }).deployment.spec?.replicas;
    expect(['3', '0', 'many'].map(replicas)).toEqual([3, 0, 1]);
  });
});

describe('a function read from its Deployment', () => {
  it('is what was deployed', () => {
    const name = fc.stringMatching(/^[a-z][a-z0-9]{0,8}$/);
    const texts = fc.dictionary(name, fc.string({ maxLength: 8 }), { maxKeys: 4, noNullPrototype: true });
    const deployment = fc.record({
      service: name,
      namespace: name,
      image: name,
      envProcess: fc.option(name, { nil: undefined }),
      envVars: texts,
      constraints: fc.uniqueArray(name).map((keys) => keys.map((key) => `${key}=yes`)),
      secrets: fc.uniqueArray(name, { maxLength: 4 }),
      labels: texts,
      annotations: texts,
      limits: fc.option(fc.constant({ memory: '1Gi' }), { nil: undefined }),
      requests: fc.option(fc.constant({ cpu: '500m' }), { nil: undefined }),
      readOnlyRootFilesystem: fc.constantFrom(true, undefined),
    });
    fc.assert(
      fc.property(deployment, (asked) => {
        const { deployment } = functionObjects(asked, settings);
        expect(readDeployment(kept(deployment))).toEqual(asked);
      }),
      { seed },
    );
  });

  it('is that of faas-netes', () => {
    const theirs = kept({
      metadata: { name: 'env', namespace: 'openfaas-fn', labels: { faas_function: 'env' }, annotations: {} },
      spec: {
        selector: { matchLabels: { faas_function: 'env' } },
        template: {
          metadata: {
            labels: { faas_function: 'env', uid: '427813', team: 'a' },
            annotations: { 'prometheus.io.scrape': 'false', topic: 'payments' },
          },
          spec: {
            nodeSelector: { zone: 'west' },
            imagePullSecrets: [{ name: 'registry' }],
            containers: [
              { name: 'istio-proxy', image: 'istio' },
              {
                name: 'env',
                image: 'ghcr.io/openfaas/alpine:latest',
                env: [
                  { name: 'fprocess', value: 'env' },
                  { name: 'NODE', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } },
                ],
                resources: {},
                securityContext: { readOnlyRootFilesystem: false },
                volumeMounts: [{ name: 'env-projected-secrets', mountPath: '/var/openfaas/secrets' }],
              },
            ],
            volumes: [
              { name: 'cache', projected: { sources: [{ secret: { name: 'none of these' } }] } },
              {
                name: 'env-projected-secrets',
                projected: { sources: [{ secret: { name: 'key', items: [{ key: 'key', path: 'key' }] } }] },
              },
            ],
          },
        },
      },
    });
    expect(readDeployment(theirs)).toEqual({
      service: 'env',
      namespace: 'openfaas-fn',
      image: 'ghcr.io/openfaas/alpine:latest',
      envProcess: 'env',
      envVars: {},
      constraints: ['zone=west'],
      secrets: ['key', 'registry'],
      labels: { team: 'a' },
      annotations: { topic: 'payments' },
    });
  });

  it('is none without the label, or with that of another', () => {
    const deployment = kept(objectsOf().deployment);
    const labelled = (labels: Record<string, string>): KubeDeployment => ({
      ...deployment,
      metadata: { ...deployment.metadata, labels },
    });
    expect(readDeployment(labelled({ faas_function: 'thumbs' }))).toBeDefined();
    expect(readDeployment(labelled({}))).toBeUndefined();
    expect(readDeployment(labelled({ faas_function: 'other' }))).toBeUndefined();
  });
});

describe('a change of an object', () => {
  const actual = (): KubeDeployment =>
    kept(objectsOf({ labels: { team: 'a' }, limits: { memory: '1024Mi' } }).deployment);
  const template = (deployment: KubeDeployment) => {
    const found = deployment.spec?.template;
    const container = found?.spec?.containers[0];
    if (!found || !container) throw new Error('no container');
    return { ...found, container };
  };

  it('leaves what others have set, and replaces what was asked for before', () => {
    const before = actual();
    Object.assign(before.metadata.labels ?? {}, { 'argocd.argoproj.io/instance': 'x' });
    Object.assign(before.metadata.annotations ?? {}, { 'deployment.kubernetes.io/revision': '3' });
    if (before.spec) before.spec.replicas = 5;
    const { deployment: wanted } = objectsOf({ annotations: { topic: 'b' }, image: 'new' });
    const changed = changedDeployment(before, wanted);
    expect(changed.metadata).toMatchObject({ resourceVersion: '7', uid: 'u-1' });
    expect(changed.metadata.labels).toEqual({ faas_function: 'thumbs', 'argocd.argoproj.io/instance': 'x' });
    expect(changed.metadata.annotations).toMatchObject({ topic: 'b', 'deployment.kubernetes.io/revision': '3' });
    expect(changed.spec?.replicas).toBe(5);
    expect(readDeployment(changed)).toMatchObject({ image: 'new', labels: {}, limits: undefined });
    expect(isAsWanted(changed, wanted)).toBe(true);
  });

  it('is needed when the wish is new or somebody has changed what it says', () => {
    const { deployment: wanted } = objectsOf({ labels: { team: 'a' }, limits: { memory: '1024Mi' } });
    expect(isAsWanted(actual(), wanted)).toBe(true);
    const drifted = (change: (deployment: KubeDeployment) => void): boolean => {
      const one = actual();
      change(one);
      return !isAsWanted(one, wanted);
    };
    expect(drifted((one) => (template(one).container.image = 'other'))).toBe(true);
    expect(drifted((one) => template(one).container.env?.push({ name: 'X', value: 'y' }))).toBe(true);
    expect(drifted((one) => delete template(one).metadata?.labels?.['team'])).toBe(true);
    expect(drifted((one) => delete template(one).spec?.automountServiceAccountToken)).toBe(true);
    expect(isAsWanted(actual(), objectsOf().deployment)).toBe(false);
  });

  it('is not needed for what the server fills in, spells its own way, or a scaler sets', () => {
    const one = actual();
    const { container, spec, metadata } = template(one);
    if (one.spec) one.spec.replicas = 4;
    Object.assign(one.spec ?? {}, { progressDeadlineSeconds: 600 });
    Object.assign(container, { terminationMessagePath: '/dev/termination-log' });
    Object.assign(container.resources?.limits ?? {}, { memory: '1Gi' });
    delete container.livenessProbe?.initialDelaySeconds;
    Object.assign(spec ?? {}, { schedulerName: 'default-scheduler' });
    Object.assign(metadata?.annotations ?? {}, { 'kubectl.kubernetes.io/restartedAt': 'now' });
    const { deployment: wanted } = objectsOf({ labels: { team: 'a' }, limits: { memory: '1024Mi' } });
    expect(isAsWanted(one, wanted)).toBe(true);
  });

  it('of a Service leaves it its addresses', () => {
    const { service: wanted } = objectsOf();
    const service = kept(wanted);
    Object.assign(service.spec ?? {}, { clusterIP: '10.0.0.7', selector: { faas_function: 'other' } });
    expect(isAsWanted(service, wanted)).toBe(false);
    const changed = changedService(service, wanted);
    expect(changed.spec).toMatchObject({ clusterIP: '10.0.0.7', selector: { faas_function: 'thumbs' } });
    expect(isAsWanted(changed, wanted)).toBe(true);
  });

  it('knows quantities by what they are', () => {
    expect([isSameQuantity('1024Mi', '1Gi'), isSameQuantity('0.5', '500m'), isSameQuantity('1k', '1000')]).toEqual([
      true,
      true,
      true,
    ]);
    expect([isSameQuantity('1G', '1Gi'), isSameQuantity('1', undefined), isSameQuantity('x', 'y')]).toEqual([
      false,
      false,
      false,
    ]);
  });
});
