import type { KubeDeployment, KubeService, New } from '../kinds.ts';
import { isSameQuantity } from './quantity.ts';
import { wantedAnnotation } from './words.ts';

type Texts = Readonly<Record<string, string>>;

/** Of a Deployment or a Service, as it is or as it is to be. */
interface Wished {
  readonly metadata: { readonly labels?: Texts; readonly annotations?: Texts };
  readonly spec?: object | undefined;
}

/**
 * What to put in the place of a Deployment, so that it is as wanted: its pods are wholly so, and of its own labels and
 * annotations those stay that others have set. Its replicas are its scaler's affair.
 */
export function changedDeployment(actual: KubeDeployment, wanted: New<KubeDeployment>): KubeDeployment {
  const before = actual.spec?.template.metadata;
  const { labels, annotations } = wanted.metadata;
  return {
    ...actual,
    metadata: {
      ...actual.metadata,
      labels: exchanged(actual.metadata.labels, before?.labels, labels),
      annotations: exchanged(actual.metadata.annotations, before?.annotations, annotations),
    },
    spec: {
      ...actual.spec,
      selector: actual.spec?.selector ?? wanted.spec?.selector ?? {},
      strategy: wanted.spec?.strategy,
      template: wanted.spec?.template ?? {},
    } as NonNullable<KubeDeployment['spec']>,
  };
}

/** A Service keeps its addresses, and everything else that was not asked for. */
export function changedService(actual: KubeService, wanted: New<KubeService>): KubeService {
  const { labels, annotations } = wanted.metadata;
  return {
    ...actual,
    metadata: {
      ...actual.metadata,
      labels: { ...actual.metadata.labels, ...labels },
      annotations: { ...actual.metadata.annotations, ...annotations },
    },
    spec: { ...actual.spec, ...wanted.spec },
  };
}

/**
 * Whether an object is as it is wanted to be: made of the same wish, and nobody has changed what that says. What the
 * server fills in, and labels that others add, are no difference; replicas are their scaler's.
 */
export function isAsWanted(actual: Wished, wanted: Wished): boolean {
  const wish = wanted.metadata.annotations?.[wantedAnnotation];
  if (actual.metadata.annotations?.[wantedAnnotation] !== wish) return false;
  const { replicas: _, ...spec } = (wanted.spec ?? {}) as Record<string, unknown>;
  return has(actual.spec, spec) && has(actual.metadata.labels, wanted.metadata.labels);
}

/** `actual` says all that `wanted` says. */
function has(actual: unknown, wanted: unknown, key?: string): boolean {
  if (Array.isArray(wanted)) {
    const items: readonly unknown[] = Array.isArray(actual) ? actual : [];
    return items.length === wanted.length && wanted.every((item, index) => has(items[index], item));
  }
  // The server leaves out what is empty.
  if (wanted === '' || wanted === 0) return (actual ?? wanted) === wanted;
  if (typeof wanted !== 'object' || wanted === null) return actual === wanted;
  const own = (actual ?? {}) as Record<string, unknown>;
  const entries = Object.entries(wanted).filter(([, value]) => value !== undefined);
  if (key === 'limits' || key === 'requests') {
    return entries.every(([name, value]) => isSameQuantity(own[name], value));
  }
  return entries.every(([name, value]) => has(own[name], value, name));
}

function exchanged(actual: Texts = {}, before: Texts = {}, wanted: Texts = {}): Record<string, string> {
  const others = Object.entries(actual).filter(([key]) => !Object.hasOwn(before, key));
  return { ...Object.fromEntries(others), ...wanted };
}
