import { type Scope, scopes } from '../contracts/route.ts';

/** Each of the scopes in each of the namespaces; `*` is every namespace. */
export interface Grant {
  readonly scopes: readonly Scope[];
  readonly namespaces: readonly string[];
}

/** Who a request is from, once that has been made sure of. */
export interface Principal {
  /** For the log; never a secret. */
  readonly name: string;
  readonly grants: readonly Grant[];
}

/** The namespaces in which something is allowed. */
export type Reach = 'all' | ReadonlySet<string>;

export const everyNamespace = '*';

/** One who may do everything. */
export function allowedAll(name: string): Principal {
  return { name, grants: [{ scopes, namespaces: [everyNamespace] }] };
}

/** Where the principal has one of these scopes; an empty set where it has none of them anywhere. */
export function reachOf({ grants }: Principal, wanted: readonly Scope[]): Reach {
  const namespaces = grants
    .filter((grant) => grant.scopes.some((scope) => wanted.includes(scope)))
    .flatMap((grant) => grant.namespaces);
  return namespaces.includes(everyNamespace) ? 'all' : new Set(namespaces);
}

export function isWithin(reach: Reach, namespace: string): boolean {
  return reach === 'all' || reach.has(namespace);
}
