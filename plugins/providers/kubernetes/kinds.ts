import type {
  V1Container,
  V1Deployment,
  V1EndpointSlice,
  V1Namespace,
  V1ObjectMeta,
  V1PodSpec,
  V1PodTemplateSpec,
  V1Service,
  V2HorizontalPodAutoscaler,
} from '@kubernetes/client-node';

/**
 * What the API server sends, as it sends it. The client library's own types are of its decoded objects, whose times are
 * `Date`s; decoding also drops fields that the library does not know, which an update would then delete.
 */
export type Wire<T> = T extends Date
  ? string
  : T extends readonly (infer Item)[]
    ? Wire<Item>[]
    : T extends object
      ? { [Key in keyof T]: Wire<T[Key]> }
      : T;

/** What every object that is kept has. */
export type Metadata = Wire<V1ObjectMeta> & { readonly name: string; readonly resourceVersion: string };
export interface KubeObject {
  readonly metadata: Metadata;
}

/** As kept there; what is sent to be made has no `resourceVersion` yet. */
type Kept<T> = Omit<Wire<T>, 'metadata'> & KubeObject;

export type KubeDeployment = Kept<V1Deployment>;
export type KubeService = Kept<V1Service>;
export type KubeEndpointSlice = Kept<V1EndpointSlice>;
export type KubeNamespace = Kept<V1Namespace>;
export type KubeAutoscaler = Kept<V2HorizontalPodAutoscaler>;
/** Of a secret nothing but its metadata is ever asked for. */
export type KubeSecretName = KubeObject;
export type PodTemplate = Wire<V1PodTemplateSpec>;
export type PodSpec = Wire<V1PodSpec>;
export type Container = Wire<V1Container>;

/** To be made: what the server fills in is not there. */
export type New<T extends KubeObject> = Omit<T, 'metadata' | 'status'> & {
  metadata: Omit<Wire<V1ObjectMeta>, 'name'> & { name: string };
};

/** KEDA's, as far as it matters here. */
export interface KubeScaledObject extends KubeObject {
  readonly spec: { readonly scaleTargetRef: { readonly name: string; readonly kind?: string } };
}

/** A `Function` of openfaas.com/v1. */
export interface KubeFunction extends KubeObject {
  readonly spec: {
    readonly name: string;
    readonly image: string;
    readonly handler?: string;
    readonly environment?: Readonly<Record<string, string>>;
    readonly constraints?: readonly string[];
    readonly secrets?: readonly string[];
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly limits?: Readonly<Record<string, string>>;
    readonly requests?: Readonly<Record<string, string>>;
    readonly readOnlyRootFilesystem?: boolean;
  };
  readonly status?: Readonly<Record<string, unknown>>;
}

/** A `Profile` of openfaas.com/v1: what pods of functions that name it get besides. */
export interface KubeProfile extends KubeObject {
  readonly spec: Pick<
    PodSpec,
    | 'tolerations'
    | 'affinity'
    | 'runtimeClassName'
    | 'priorityClassName'
    | 'dnsPolicy'
    | 'dnsConfig'
    | 'topologySpreadConstraints'
  > & { readonly podSecurityContext?: PodSpec['securityContext'] };
}

/** Where objects of one kind are found. */
export interface Kind<T extends KubeObject = KubeObject> {
  /** `apps/v1`; the core group is `v1`. */
  readonly apiVersion: string;
  readonly kind: string;
  readonly plural: string;
  /** Never set: it carries the type. */
  readonly object?: T;
}

export const kinds = {
  deployments: kind<KubeDeployment>('apps/v1', 'Deployment', 'deployments'),
  services: kind<KubeService>('v1', 'Service', 'services'),
  endpointSlices: kind<KubeEndpointSlice>('discovery.k8s.io/v1', 'EndpointSlice', 'endpointslices'),
  secrets: kind<KubeSecretName>('v1', 'Secret', 'secrets'),
  namespaces: kind<KubeNamespace>('v1', 'Namespace', 'namespaces'),
  autoscalers: kind<KubeAutoscaler>('autoscaling/v2', 'HorizontalPodAutoscaler', 'horizontalpodautoscalers'),
  scaledObjects: kind<KubeScaledObject>('keda.sh/v1alpha1', 'ScaledObject', 'scaledobjects'),
  functions: kind<KubeFunction>('openfaas.com/v1', 'Function', 'functions'),
  profiles: kind<KubeProfile>('openfaas.com/v1', 'Profile', 'profiles'),
} as const;

function kind<T extends KubeObject>(apiVersion: string, name: string, plural: string): Kind<T> {
  return { apiVersion, kind: name, plural };
}

/** The path of all objects of a kind, of those in a namespace, or of one of them. */
export function pathOf({ apiVersion, plural }: Kind, namespace?: string, name?: string, subresource?: string): string {
  const parts = [apiVersion.includes('/') ? 'apis' : 'api', ...apiVersion.split('/')];
  if (namespace !== undefined) parts.push('namespaces', namespace);
  parts.push(plural);
  for (const part of [name, subresource]) if (part !== undefined) parts.push(part);
  return `/${parts.map(encodeURIComponent).join('/')}`;
}
