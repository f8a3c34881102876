import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Registry } from 'prom-client';
import { parse, parseDocument } from 'yaml';
import manifest from '../../package.json' with { type: 'json' };
import { healthRoutes } from '../../core/api/health.ts';
import { loadConfig } from '../../core/config/load.ts';
import { parseDuration } from '../../core/config/units.ts';
import { systemClock } from '../../core/contracts/clock.ts';
import { connectionMetrics } from '../../core/observe/connection-metrics.ts';
import { queueMetrics } from '../../core/observe/queue-metrics.ts';
import { reloadMetrics } from '../../core/observe/reload-metrics.ts';
import {
  chartFolder,
  grantsOf,
  helmMissing,
  type Manifest,
  manifestsFile,
  manifestsOf,
  render,
  shippedManifests,
  the,
  weaknessesOf,
  writeManifests,
} from '../support/chart.ts';
import { builtIns, testDefaults } from '../support/gateway.ts';

const follow = ['list', 'watch'];
const keep = ['create', 'delete', 'get', 'list', 'update', 'watch'];

/** What the gateway may do in a namespace of functions. Whoever adds a verb says here what for. */
const allowed: Record<string, string[]> = {
  'apps/deployments': keep,
  'apps/deployments/scale': ['get', 'patch'],
  services: keep,
  'discovery.k8s.io/endpointslices': follow, // Whom to call.
  secrets: ['create', 'delete', 'list', 'patch', 'watch'], // Listed for their names, which no rule can narrow.
  'autoscaling/horizontalpodautoscalers': follow, // Whom a Deployment is left to.
  'keda.sh/scaledobjects': follow,
  'openfaas.com/functions': follow,
  'openfaas.com/functions/status': ['patch'],
};

/** Verbs by which a service account would make itself more than it is. */
const forbidden = /\*|^(escalate|bind|impersonate|approve|sign|deletecollection)$/;

function overreachOf(manifests: readonly Manifest[]): string[] {
  return manifests
    .filter(({ rules }) => rules !== undefined)
    .flatMap(({ rules }) => Object.entries(grantsOf(rules)))
    .flatMap(([resource, verbs]) => [resource, ...verbs])
    .filter((word) => forbidden.test(word));
}

/** The gateway's own. */
function configOf(manifests: readonly Manifest[]): Manifest {
  return parse(the('ConfigMap', manifests).data['millrace.yaml']);
}

function isSubset(selector: Record<string, string>, labels: Record<string, string>): boolean {
  return Object.entries(selector).every(([key, value]) => labels[key] === value);
}

/** What holds of whatever the chart renders. */
function check(manifests: readonly Manifest[]): void {
  const { template } = the('Deployment', manifests).spec;
  const [gateway] = template.spec.containers;
  const config = configOf(manifests);
  const ids = manifests.map(({ kind, metadata }) => `${kind} ${metadata.namespace}/${metadata.name}`);
  expect(new Set(ids).size).toBe(ids.length);
  expect(weaknessesOf(template.spec)).toEqual([]);
  expect(overreachOf(manifests)).toEqual([]);

  // Ports and paths are those of the gateway.
  const ports = { http: config.gateway.listen.port, metrics: config.gateway.management.port };
  expect(Object.fromEntries(gateway.ports.map((port: Manifest) => [port.name, port.containerPort]))).toEqual(ports);
  expect(gateway.readinessProbe.httpGet).toEqual({ path: '/readyz', port: 'http' });
  expect(healthRoutes.map(({ path }) => path)).toContain('/readyz');
  // What says whether a broker is there must not be what a gateway is killed by.
  for (const probe of [gateway.livenessProbe, gateway.startupProbe])
    expect(probe.httpGet).toEqual({ path: '/healthz', port: 'metrics' });

  const grace = template.spec.terminationGracePeriodSeconds;
  const drainMs = parseDuration(config.gateway.shutdown.drain) ?? Number.NaN;
  expect(grace).toBeGreaterThanOrEqual(gateway.lifecycle.preStop.sleep.seconds + drainMs / 1000 + 15);

  // What selects the pods selects them.
  const { labels } = template.metadata;
  for (const { kind, spec } of manifests) {
    if (kind === 'Service') {
      expect(isSubset(spec.selector, labels)).toBe(true);
      for (const { targetPort } of spec.ports) expect(Object.keys(ports)).toContain(targetPort);
    }
    if (kind === 'PodDisruptionBudget') expect(isSubset(spec.selector.matchLabels, labels)).toBe(true);
    if (kind === 'NetworkPolicy') expect(isSubset(spec.podSelector.matchLabels, labels)).toBe(true);
    if (kind === 'ServiceMonitor') {
      const chosen = manifests.filter(
        (one) => one.kind === 'Service' && isSubset(spec.selector.matchLabels, one.metadata.labels),
      );
      expect(chosen.map((one) => one.spec.ports[0].targetPort)).toEqual(['metrics']);
    }
  }
  // Every binding leads from a role that is there to the account that the pods have.
  for (const { kind, metadata, roleRef, subjects } of manifests) {
    if (!kind.endsWith('RoleBinding')) continue;
    const role = the(
      roleRef.kind,
      manifests.filter((one) => one.metadata.namespace === metadata.namespace),
      roleRef.name,
    );
    expect(role.rules.length).toBeGreaterThan(0);
    expect(subjects).toEqual([
      {
        kind: 'ServiceAccount',
        name: template.spec.serviceAccountName,
        namespace: the('Deployment', manifests).metadata.namespace,
      },
    ]);
  }
}

const shipped = shippedManifests();

describe('the manifests', () => {
  it('are sound', () => check(shipped));

  it('give the gateway what it needs in the namespace of functions, and nothing elsewhere', () => {
    const roles = shipped.filter(({ kind }) => kind.endsWith('Role'));
    expect(roles.map(({ kind, metadata: { namespace, name } }) => `${kind} ${namespace}/${name}`)).toEqual([
      'Role openfaas-fn/millrace-functions',
      'Role openfaas/millrace-profiles',
    ]);
    expect(grantsOf(roles[0].rules)).toEqual(allowed);
    expect(grantsOf(roles[1].rules)).toEqual({ 'openfaas.com/profiles': follow });
  });

  it('keep no secret: the configuration names files, and those are of Secrets', () => {
    const config = configOf(shipped);
    const { volumes, containers } = the('Deployment', shipped).spec.template.spec;
    const paths: string[] = containers[0].volumeMounts.map(({ mountPath }: Manifest) => mountPath);
    for (const path of [config.gateway.auth.basic.secretMountPath, config.connections.nats.creds])
      expect(paths.some((mounted) => path === mounted || path.startsWith(`${mounted}/`))).toBe(true);
    expect(shipped.some(({ kind }) => kind === 'Secret')).toBe(false);
    const mounted = volumes.flatMap(({ secret }: Manifest) => (secret ? [secret.secretName] : []));
    expect(mounted).toEqual(['basic-auth', 'millrace-nats']);
  });

  it('have a configuration that a gateway takes as it stands', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-chart-'));
    for (const file of ['basic-auth-user', 'basic-auth-password']) writeFileSync(join(folder, file), 'geheim');
    const text: string = the('ConfigMap', shipped).data['millrace.yaml'];
    const file = join(folder, 'millrace.yaml');
    writeFileSync(file, text.replace('/run/secrets/basic-auth', folder));
    const { config, problems } = await loadConfig(file, builtIns(), testDefaults, { HOSTNAME: 'millrace-0' });
    expect(problems.map((problem) => problem.text)).toEqual([]);
    // Nothing of it is what is standard where a configuration says nothing: a file on a root that is only read.
    expect([...(config?.queues.values() ?? [])].map(({ kind }) => kind)).toEqual(['jetstream']);
    expect([...(config?.stores.values() ?? [])].map(({ kind }) => kind)).toEqual(['nats-kv']);
    expect(config?.providers.get('cluster')).toMatchObject({ kind: 'kubernetes', allowDeploy: true });
  });

  it('are of this release', () => {
    const chart = parse(readFileSync(join(chartFolder, 'Chart.yaml'), 'utf8'));
    expect([chart.version, chart.appVersion]).toEqual([manifest.version, manifest.version]);
    const [gateway] = the('Deployment', shipped).spec.template.spec.containers;
    expect(gateway.image).toBe(`millrace:${manifest.version}`);
  });
});

describe('the checks find', () => {
  it.each<[string, (spec: Manifest) => void]>([
    ['hostNetwork', (spec) => (spec.hostNetwork = true)],
    ['may be root', (spec) => delete spec.securityContext.runAsNonRoot],
    ['no seccomp profile', (spec) => delete spec.securityContext.seccompProfile],
    ['mounts the host', (spec) => spec.volumes.push({ name: 'x', hostPath: { path: '/' } })],
    ['may gain privileges', ({ containers }) => delete containers[0].securityContext.allowPrivilegeEscalation],
    ['writes to its root', ({ containers }) => (containers[0].securityContext.readOnlyRootFilesystem = false)],
    ['keeps capabilities', ({ containers }) => (containers[0].securityContext.capabilities.drop = ['NET_RAW'])],
    ['adds capabilities', ({ containers }) => (containers[0].securityContext.capabilities.add = ['SYS_ADMIN'])],
    ['no limit of memory', ({ containers }) => delete containers[0].resources.limits],
    ['its image may be any', ({ containers }) => (containers[0].image = 'registry:5000/millrace')],
    ['its image may be any', ({ containers }) => (containers[0].image = 'millrace:latest')],
  ])('a pod that has a flaw: %s', (flaw, plant) => {
    const { spec } = the('Deployment', structuredClone(shipped)).spec.template;
    plant(spec);
    expect(weaknessesOf(spec)).toEqual([flaw]);
  });

  it.each([
    { apiGroups: ['*'], resources: ['deployments'], verbs: ['get'] },
    { apiGroups: [''], resources: ['*'], verbs: ['get'] },
    { apiGroups: [''], resources: ['pods'], verbs: ['*'] },
    { apiGroups: ['rbac.authorization.k8s.io'], resources: ['roles'], verbs: ['escalate'] },
    { apiGroups: [''], resources: ['users'], verbs: ['impersonate'] },
  ])('a rule that goes too far: %j', (rule) => {
    const manifests = structuredClone(shipped);
    the('Role', manifests, 'millrace-functions').rules.push(rule);
    expect(overreachOf(manifests)).not.toEqual([]);
    expect(() => check(manifests)).toThrow();
  });

  it('a grace that ends before the drain', () => {
    const manifests = structuredClone(shipped);
    the('Deployment', manifests).spec.template.spec.terminationGracePeriodSeconds = 60;
    expect(() => check(manifests)).toThrow('to be greater than or equal to');
  });
});

describe('the values', () => {
  const folder = join(chartFolder, 'templates');
  const templates = readdirSync(folder).map((file) => readFileSync(join(folder, file), 'utf8'));
  const used = new Set(
    templates.flatMap((text) => [...text.matchAll(/\.Values\.([\w.]+)/g)].map(([, path = '']) => path)),
  );
  const values = parseDocument(readFileSync(join(chartFolder, 'values.yaml'), 'utf8'));
  const keys = Object.keys(values.toJS() as object);

  it('are all used, and those that are used are there', () => {
    const first = new Set([...used].map((path) => path.split('.')[0]));
    expect(keys.filter((key) => !first.has(key))).toEqual([]);
    const open = /^config\./; // Not the chart's own.
    expect([...used].filter((path) => !open.test(path) && !values.hasIn(path.split('.')))).toEqual([]);
  });

  it('are each in the schema, and only those', () => {
    const schema = JSON.parse(readFileSync(join(chartFolder, 'values.schema.json'), 'utf8'));
    const { global: _helms, ...properties } = schema.properties;
    expect(Object.keys(properties).toSorted()).toEqual(keys.toSorted());
    for (const key of keys.filter((one) => properties[one].additionalProperties === false)) {
      const inner = values.toJS()[key] as object;
      expect(Object.keys(properties[key].properties).toSorted()).toEqual(Object.keys(inner).toSorted());
    }
  });
});

it('alerts ask for metrics that there are', () => {
  const registry = new Registry();
  queueMetrics(registry, new Map(), { list: () => [] });
  connectionMetrics(registry, () => []);
  reloadMetrics(registry, systemClock);
  const known = new Set(registry.getMetricsAsArray().map(({ name }) => name));
  const rule = readFileSync(join(chartFolder, 'templates/prometheusrule.yaml'), 'utf8');
  const asked = [...rule.matchAll(/millrace_\w+/g)].map(([name]) => name);
  expect(asked.length).toBeGreaterThan(4);
  expect(asked.filter((name) => !known.has(name))).toEqual([]);
});

const everything = `
fullnameOverride: gateway
autoscaling: { enabled: true }
ingress: { enabled: true, className: nginx, hosts: [faas.example.org], tls: [{ hosts: [faas.example.org], secretName: tls }] }
serviceMonitor: { enabled: true, labels: { release: prometheus } }
prometheusRule: { enabled: true }
image: { digest: "sha256:${'0'.repeat(64)}", pullSecrets: [pull] }
files: { "hello.mjs": "export default async () => 'hi';" }
env: [{ name: PW, value: x }]
envFrom: [{ secretRef: { name: more } }]
volumes: [{ name: data, emptyDir: {} }]
volumeMounts: [{ name: data, mountPath: /var/lib/millrace }]
shareProcessNamespace: true
podLabels: { team: a }
podAnnotations: { note: b }
priorityClassName: system-cluster-critical
nodeSelector: { kubernetes.io/os: linux }
tolerations: [{ key: a, operator: Exists }]
service: { type: LoadBalancer, port: 80, annotations: { a: b } }
serviceAccount: { name: own, annotations: { a: b } }
secrets: { third: other }
podSecurityContext: { runAsUser: null, runAsGroup: null, fsGroup: null }
networkPolicy: { from: [{ podSelector: {} }], metricsFrom: [] }
config:
  gateway: { shutdown: { drain: 1m30s } }
  queues: { default: { limits: { messages: 20000000 } } }
  providers:
    cluster: { namespaces: null, namespaceSelector: openfaas=1 }
    other: { kind: kubernetes, namespaces: [team-a, team-b], profilesNamespace: team-a }
    far: { kind: kubernetes, kubeconfig: /run/secrets/third/config, namespaces: [nowhere] }
`;

const missing = helmMissing();
if (missing !== undefined) process.stderr.write(`skipped: the chart: ${missing}\n`);

describe.skipIf(missing !== undefined)('the chart', () => {
  /** `UPDATE_GOLDEN=1` writes them: read the difference. */
  it('renders the manifests that are shipped', () => {
    if (process.env['UPDATE_GOLDEN'] === '1') writeManifests();
    expect(render()).toBe(readFileSync(manifestsFile, 'utf8'));
  });

  it('is sound with all that it has', () => {
    const manifests = manifestsOf(render(everything));
    check(manifests);
    expect(the('Deployment', manifests).spec.replicas).toBeUndefined(); // They are the autoscaler's.
    expect(configOf(manifests).queues.default.limits.messages).toBe(20_000_000);
  });

  it('makes a Role in each namespace that is named, and asks for all namespaces only where labels find them', () => {
    const manifests = manifestsOf(render(everything));
    const roles = manifests.filter(({ kind, metadata: { name } }) => kind === 'Role' && name === 'gateway-functions');
    expect(roles.map(({ metadata }) => metadata.namespace)).toEqual(['team-a', 'team-b']);
    expect(grantsOf(the('ClusterRole', manifests).rules)).toEqual({
      ...allowed,
      namespaces: ['create', 'delete', 'list', 'update', 'watch'],
    });
    const own = manifestsOf(render('rbac: { create: false }'));
    expect(own.filter(({ kind }) => /Role/.test(kind))).toEqual([]);
  });

  it('gives callbacks the names of its Service, and of the one of OpenFaaS', () => {
    const { internal } = configOf(manifestsOf(render(everything, 'faas'))).gateway.callbacks;
    expect(internal).toEqual(expect.arrayContaining(['gateway', 'gateway.faas', 'gateway.openfaas.svc.cluster.local']));
  });

  it.each([
    ['replicaz: 3', "additional properties 'replicaz' not allowed"],
    ['replicas: many', '/replicas'],
    ['config: { gateway: { listen: { host: 127.0.0.1 } } }', '/config/gateway/listen/host'],
    ['config: { gateway: { shutdown: { drain: soon } } }', '/config/gateway/shutdown/drain'],
    ['config: { providers: { cluster: { kind: null } } }', '/config/providers/cluster'],
    ['image: { digest: "sha256:1" }', '/image/digest'],
    ['files: { millrace.yaml: x }', "invalid propertyName 'millrace.yaml'"],
    ['ingress: { enabled: true }', '/ingress/hosts'],
  ])('refuses %s', (values, reason) => {
    expect(() => render(values)).toThrow(reason);
  });
});
