import type { JsonObject, KubeObject } from './fake-objects.ts';
import type { Resource } from './fake-resources.ts';
import type { LabelSelector } from './fake-selectors.ts';
import { conflict, invalid } from './fake-status.ts';

/** The type of the `/scale` subresource in the schema. */
export const scaleType = 'autoscaling.v1.Scale';

/** Of a Deployment. Zero replicas are left out, as the real one leaves them out. */
export function asScale({ metadata, spec, status }: KubeObject): JsonObject {
  const { name, namespace = '', uid, resourceVersion, creationTimestamp } = metadata;
  const { replicas = 0, selector } = spec as { replicas?: number; selector?: LabelSelector };
  const labels = Object.entries(selector?.matchLabels ?? {}).map(([key, value]) => `${key}=${value}`);
  const current = Number(status?.['replicas'] ?? 0);
  return {
    kind: 'Scale',
    apiVersion: 'autoscaling/v1',
    metadata: { name, namespace, uid, resourceVersion, creationTimestamp },
    spec: replicas === 0 ? {} : { replicas },
    status: { replicas: current, selector: labels.sort().join(',') },
  };
}

/** The object with as many replicas as the Scale says. */
export function withScale(resource: Resource, before: KubeObject, scale: JsonObject): KubeObject {
  const { name, resourceVersion: version } = before.metadata;
  const asked = ((scale['metadata'] ?? {}) as JsonObject)['resourceVersion'];
  if (typeof asked === 'string' && asked !== '' && asked !== version) throw conflict(resource, name);
  const replicas = Number((scale['spec'] as JsonObject | undefined)?.['replicas'] ?? 0);
  if (replicas < 0) {
    const message = `Invalid value: ${replicas}: must be greater than or equal to 0`;
    const field = 'spec.replicas';
    throw invalid({ group: 'autoscaling', kind: 'Scale' }, name, [{ reason: 'FieldValueInvalid', message, field }]);
  }
  return { ...before, spec: { ...before.spec, replicas } };
}
