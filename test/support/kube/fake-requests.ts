import type { Definitions } from './fake-definitions.ts';
import type { Resource } from './fake-resources.ts';

/** What a path of the API names. `resource` is undefined where there is none of that name. */
export interface ApiPath {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly resource: Resource | undefined;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly subresource: string | undefined;
}

/** `/api/v1/…` and `/apis/GROUP/VERSION/…`; undefined for a path that names no objects. */
export function parsePath(path: string, definitions: Definitions): ApiPath | undefined {
  const parts = path.split('/').slice(1).map(decodeURIComponent);
  const [root = '', ...rest] = parts;
  if (root !== 'api' && root !== 'apis') return undefined;
  const [group = '', version = '', ...names] = root === 'api' ? ['', ...rest] : rest;
  let namespace: string | undefined;
  let named = names;
  // A namespace is also an object itself: `/namespaces/NAME` and its subresources.
  const within = names[0] === 'namespaces' && names.length >= 3 && names[2] !== 'status' && names[2] !== 'finalize';
  if (within) {
    namespace = names[1];
    named = names.slice(2);
  }
  const [plural = '', name, subresource] = named;
  if (plural === '') return undefined;
  const found = definitions.find(group, version, plural);
  const fits =
    found !== undefined && found.namespaced === (namespace !== undefined || (found.namespaced && name === undefined));
  return { group, version, plural, resource: fits ? found : undefined, namespace, name, subresource };
}

/** The verb that access rules name. */
export function verbOf(method: string, { name }: ApiPath, watch: boolean): string | undefined {
  switch (method) {
    case 'GET':
    case 'HEAD':
      if (watch) return 'watch';
      return name === undefined ? 'list' : 'get';
    case 'POST':
      return 'create';
    case 'PUT':
      return 'update';
    case 'PATCH':
      return 'patch';
    case 'DELETE':
      return name === undefined ? 'deletecollection' : 'delete';
  }
  return undefined;
}
