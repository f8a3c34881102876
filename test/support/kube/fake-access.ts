import { isDeepStrictEqual } from 'node:util';
import type { KubeObject } from './fake-objects.ts';
import { clusterRoleBindings, clusterRoles, roleBindings, roles } from './fake-resources.ts';
import type { Store } from './fake-store.ts';

/** Who asks. */
export interface User {
  readonly name: string;
  readonly groups: readonly string[];
}

/** What is asked for. `namespace` undefined: in the whole cluster. */
export interface Access {
  readonly verb: string;
  readonly group: string;
  /** With its subresource: `deployments/scale`. */
  readonly resource: string;
  readonly namespace?: string | undefined;
  readonly name?: string | undefined;
}

interface Rule {
  readonly verbs: readonly string[];
  readonly apiGroups?: readonly string[];
  readonly resources?: readonly string[];
  readonly resourceNames?: readonly string[];
}

interface Subject {
  readonly kind: string;
  readonly name: string;
  readonly namespace?: string;
}

interface Binding extends KubeObject {
  readonly subjects?: readonly Subject[];
  readonly roleRef: { readonly kind: string; readonly name: string };
}

export const anonymous: User = { name: 'system:anonymous', groups: ['system:unauthenticated'] };
export const administrator: User = { name: 'admin', groups: ['system:masters', 'system:authenticated'] };

export function serviceAccountUser(namespace: string, name: string): User {
  const groups = ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated'];
  return { name: `system:serviceaccount:${namespace}:${name}`, groups };
}

/** By the roles and bindings that are in the cluster now. */
export function isAllowed(store: Store, user: User, access: Access): boolean {
  if (user.groups.includes('system:masters')) return true;
  return rulesOf(store, user, access.namespace).some((rule) => permits(rule, access));
}

function rulesOf(store: Store, user: User, namespace: string | undefined): Rule[] {
  const cluster = store.list(clusterRoleBindings) as Binding[];
  const local = namespace === undefined ? [] : (store.list(roleBindings, namespace) as Binding[]);
  return [...cluster, ...local]
    .filter(({ subjects = [], metadata }) => subjects.some((subject) => isMeant(subject, user, metadata.namespace)))
    .flatMap(({ roleRef, metadata }) => {
      const role =
        roleRef.kind === 'ClusterRole'
          ? store.get(clusterRoles, `/${roleRef.name}`)
          : store.get(roles, `${metadata.namespace}/${roleRef.name}`);
      return (role?.['rules'] as Rule[] | undefined) ?? [];
    });
}

function isMeant({ kind, name, namespace }: Subject, user: User, bindingNamespace: string | undefined): boolean {
  if (kind === 'Group') return user.groups.includes(name);
  if (kind === 'User') return user.name === name;
  return isDeepStrictEqual(user, serviceAccountUser(namespace ?? bindingNamespace ?? '', name));
}

function permits({ verbs, apiGroups = [], resources = [], resourceNames = [] }: Rule, access: Access): boolean {
  const holds = (list: readonly string[], word: string): boolean => list.includes('*') || list.includes(word);
  const named = resourceNames.length === 0 || (access.name !== undefined && resourceNames.includes(access.name));
  return holds(verbs, access.verb) && holds(apiGroups, access.group) && holds(resources, access.resource) && named;
}

/** In the words of the real one. */
export function refusal(user: User, { verb, group, resource, namespace }: Access): string {
  const where = namespace === undefined ? 'at the cluster scope' : `in the namespace "${namespace}"`;
  return `User "${user.name}" cannot ${verb} resource "${resource}" in API group "${group}" ${where}`;
}
