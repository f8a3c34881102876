import type { Definitions } from './fake-definitions.ts';
import { apiVersionOf } from './fake-resources.ts';

const verbs = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];

/** What the API server says of itself; undefined for a path that it has not. */
export function discovery(path: string, definitions: Definitions): object | undefined {
  switch (path) {
    case '/version':
      return { major: '1', minor: '36', gitVersion: 'v1.36.3-fake', platform: 'fake' };
    case '/api':
      return { kind: 'APIVersions', versions: ['v1'] };
    case '/apis':
      return { kind: 'APIGroupList', apiVersion: 'v1', groups: groupsOf(definitions) };
  }
  const [, group = '', version] = /^\/(?:api|apis\/([^/]+))\/([^/]+)$/.exec(path) ?? [];
  const found = definitions.all().filter((resource) => resource.group === group && resource.version === version);
  if (found.length === 0) return undefined;
  const resources = found.flatMap(({ plural, singular, kind, namespaced, subresources }) => [
    { name: plural, singularName: singular, namespaced, kind, verbs },
    ...subresources.map((name) => ({
      name: `${plural}/${name}`,
      singularName: '',
      namespaced,
      kind,
      verbs: ['get', 'patch', 'update'],
    })),
  ]);
  return {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: apiVersionOf({ group, version: version ?? '' }),
    resources,
  };
}

function groupsOf(definitions: Definitions): object[] {
  const named = definitions.all().filter(({ group }) => group !== '');
  return [...Map.groupBy(named, ({ group }) => group)].map(([name, resources]) => {
    const versions = [...new Set(resources.map(({ version }) => version))].map((version) => {
      return { groupVersion: `${name}/${version}`, version };
    });
    return { name, versions, preferredVersion: versions[0] };
  });
}
