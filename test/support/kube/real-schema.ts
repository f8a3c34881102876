// Writes what the fake API server knows of the fields of objects (`fake-schema.json`), as the real one tells it.
// Usage: KUBECONFIG=… node test/support/kube/real-schema.ts (needs kubectl)
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { without } from './fake-objects.ts';
import type { Field } from './fake-schema.ts';

interface OpenApi {
  readonly $ref?: string;
  readonly allOf?: readonly OpenApi[];
  readonly oneOf?: readonly OpenApi[];
  readonly type?: string;
  readonly format?: string;
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, OpenApi>>;
  readonly items?: OpenApi;
  readonly additionalProperties?: OpenApi;
  readonly 'x-kubernetes-patch-merge-key'?: string;
  readonly 'x-kubernetes-patch-strategy'?: string;
}

const wanted: Readonly<Record<string, readonly string[]>> = {
  'api/v1': ['Namespace', 'Service', 'Pod', 'ServiceAccount', 'Secret', 'ConfigMap'].map(
    (k) => `io.k8s.api.core.v1.${k}`,
  ),
  'apis/apps/v1': ['io.k8s.api.apps.v1.Deployment', 'io.k8s.api.apps.v1.ReplicaSet'],
  'apis/discovery.k8s.io/v1': ['io.k8s.api.discovery.v1.EndpointSlice'],
  'apis/autoscaling/v2': ['io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler'],
  'apis/coordination.k8s.io/v1': ['io.k8s.api.coordination.v1.Lease'],
  'apis/rbac.authorization.k8s.io/v1': ['Role', 'RoleBinding', 'ClusterRole', 'ClusterRoleBinding'].map(
    (k) => `io.k8s.api.rbac.v1.${k}`,
  ),
};
const all: Record<string, OpenApi> = {};
for (const path of Object.keys(wanted)) {
  const text = execFileSync('kubectl', ['get', '--raw', `/openapi/v3/${path}`], {
    maxBuffer: 64 << 20,
    encoding: 'utf8',
  });
  Object.assign(all, (JSON.parse(text) as { components: { schemas: Record<string, OpenApi> } }).components.schemas);
}
const scale = 'io.k8s.api.autoscaling.v1.Scale';
const types: Record<string, Record<string, Field>> = {};
for (const name of [...Object.values(wanted).flat(), scale]) keep(name);
const rows = Object.entries(types)
  .toSorted(([left], [right]) => (left < right ? -1 : 1))
  .map(([name, fields]) => `${JSON.stringify(name)}: ${JSON.stringify(fields)}`);
writeFileSync(join(import.meta.dirname, 'fake-schema.json'), `{\n${rows.join(',\n')}\n}\n`);

/** `io.k8s.api.apps.v1.Deployment` → `apps.v1.Deployment`. */
function short(name: string): string {
  return name.split('.').slice(-3).join('.');
}

function keep(name: string): void {
  const { properties } = all[name] ?? {};
  if (!properties || Object.hasOwn(types, short(name))) return;
  const fields: Record<string, Field> = {};
  types[short(name)] = fields;
  for (const [key, property] of Object.entries(properties)) fields[key] = fieldOf(property);
}

function fieldOf(property: OpenApi): Field {
  const whole = property.allOf?.length === 1 ? { ...property.allOf[0], ...without(property, 'allOf') } : property;
  const { $ref, type, format, items, additionalProperties, oneOf } = whole;
  if ($ref !== undefined) {
    const name = $ref.slice($ref.lastIndexOf('/') + 1);
    if (name.endsWith('.Quantity')) return { type: 'quantity' };
    if (name.endsWith('.IntOrString')) return { type: 'int-or-string' };
    if (name.endsWith('.Time') || name.endsWith('.MicroTime')) return { type: 'time' };
    if (!all[name]?.properties) return { type: 'any' };
    keep(name);
    return { type: 'object', of: short(name) };
  }
  if (type === 'array' && items) {
    const mergeKey = whole['x-kubernetes-patch-merge-key'];
    const merged = whole['x-kubernetes-patch-strategy']?.includes('merge') ?? false;
    return {
      type: 'list',
      items: fieldOf(items),
      ...(merged && { merge: mergeKey ?? true }),
    };
  }
  if (type === 'object' && additionalProperties) return { type: 'map', items: fieldOf(additionalProperties) };
  if (oneOf || type === 'object' || type === undefined) return { type: 'any' };
  if (format === 'byte') return { type: 'bytes' };
  const known = type as 'string' | 'integer' | 'number' | 'boolean';
  const text = typeof whole.default === 'string' && whole.default !== '';
  return { type: known, ...(text && { default: whole.default }) };
}
