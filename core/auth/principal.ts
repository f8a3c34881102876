/**
 * What somebody may do. `invoke`: call functions that ask for a token, and read what became of such calls. `deploy`:
 * functions, their secrets, namespaces and scale. `operate`: look at everything else, and queues, dead letters,
 * connectors.
 */
export const scopes = ['invoke', 'deploy', 'operate'] as const;
export type Scope = (typeof scopes)[number];

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
