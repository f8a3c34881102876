/** A kind of object that the API serves, and where. */
export interface Resource {
  /** `''` for the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly singular: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly subresources: readonly string[];
  /** Of a definition that a client made, and not of the API server itself. */
  readonly custom: boolean;
}

function builtIn(
  group: string,
  version: string,
  plural: string,
  kind: string,
  subresources: readonly string[] = [],
  namespaced = true,
): Resource {
  return { group, version, plural, singular: kind.toLowerCase(), kind, namespaced, subresources, custom: false };
}

export const namespaces = builtIn('', 'v1', 'namespaces', 'Namespace', ['status', 'finalize'], false);
export const services = builtIn('', 'v1', 'services', 'Service', ['status']);
export const pods = builtIn('', 'v1', 'pods', 'Pod', ['status', 'log']);
export const serviceAccounts = builtIn('', 'v1', 'serviceaccounts', 'ServiceAccount', ['token']);
export const secrets = builtIn('', 'v1', 'secrets', 'Secret');
export const configMaps = builtIn('', 'v1', 'configmaps', 'ConfigMap');
export const deployments = builtIn('apps', 'v1', 'deployments', 'Deployment', ['status', 'scale']);
export const replicaSets = builtIn('apps', 'v1', 'replicasets', 'ReplicaSet', ['status', 'scale']);
export const endpointSlices = builtIn('discovery.k8s.io', 'v1', 'endpointslices', 'EndpointSlice');
export const definitions = builtIn(
  'apiextensions.k8s.io',
  'v1',
  'customresourcedefinitions',
  'CustomResourceDefinition',
  ['status'],
  false,
);
const rbac = 'rbac.authorization.k8s.io';
export const roles = builtIn(rbac, 'v1', 'roles', 'Role');
export const roleBindings = builtIn(rbac, 'v1', 'rolebindings', 'RoleBinding');
export const clusterRoles = builtIn(rbac, 'v1', 'clusterroles', 'ClusterRole', [], false);
export const clusterRoleBindings = builtIn(rbac, 'v1', 'clusterrolebindings', 'ClusterRoleBinding', [], false);

/** What a fake cluster serves from its start. */
export const builtInResources: readonly Resource[] = [
  namespaces,
  services,
  pods,
  serviceAccounts,
  secrets,
  configMaps,
  builtIn('', 'v1', 'events', 'Event'),
  deployments,
  replicaSets,
  endpointSlices,
  builtIn('autoscaling', 'v2', 'horizontalpodautoscalers', 'HorizontalPodAutoscaler', ['status']),
  builtIn('coordination.k8s.io', 'v1', 'leases', 'Lease'),
  definitions,
  roles,
  roleBindings,
  clusterRoles,
  clusterRoleBindings,
];

export function apiVersionOf({ group, version }: Pick<Resource, 'group' | 'version'>): string {
  return group === '' ? version : `${group}/${version}`;
}

/** As the API's errors name it: `deployments.apps`, `pods`. */
export function qualifiedName({ group, plural }: Pick<Resource, 'group' | 'plural'>): string {
  return group === '' ? plural : `${plural}.${group}`;
}
