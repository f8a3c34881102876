import type { Namespace } from '../../../core/contracts/deployment.ts';
import { MillraceError, missingNamespace } from '../../../core/contracts/errors.ts';
import type { Cluster } from './cluster.ts';
import type { KubernetesConfig } from './config.ts';
import { toldOf } from './kube-error.ts';
import { type KubeNamespace, kinds } from './kinds.ts';

/** The namespaces of functions. They are made and removed here only where a selector finds them. */
export class Namespaces {
  readonly #cluster: Cluster;
  readonly #selector: string | undefined;

  constructor(cluster: Cluster, { namespaceSelector }: KubernetesConfig) {
    this.#cluster = cluster;
    this.#selector = namespaceSelector;
  }

  list(): readonly Namespace[] {
    const { namespaceNames, namespaces } = this.#cluster;
    return [...namespaceNames].toSorted().map((name) => {
      const { labels = {}, annotations = {} } = namespaces.get('', name)?.metadata ?? {};
      return { name, labels, annotations };
    });
  }

  /** Those that the selector asks for are added to its labels: it would not be one of functions without. */
  async put({ name, labels, annotations }: Namespace, how: 'create' | 'update'): Promise<void> {
    this.#needSelector();
    const { client, namespaces } = this.#cluster;
    const actual = namespaces.get('', name);
    if (how === 'create' && actual) throw conflict(`namespace ${name} is there already`);
    if (how === 'update' && !actual) throw missingNamespace(name);
    const metadata = { name, labels: { ...labels, ...labelsOf(this.#selector) }, annotations };
    try {
      const written = actual
        ? await client.update(kinds.namespaces, undefined, changed(actual, metadata))
        : await client.create(kinds.namespaces, undefined, { apiVersion: 'v1', kind: 'Namespace', metadata });
      namespaces.learn(written);
    } catch (error) {
      throw toldOf(error, `namespace ${name}`);
    }
  }

  /** Only an empty one: what runs there would be gone without anybody having named it. */
  async remove(name: string): Promise<void> {
    this.#needSelector();
    const { client, namespaces, deployments } = this.#cluster;
    const actual = namespaces.get('', name);
    if (!actual) throw missingNamespace(name);
    const inside = [...deployments.list(name)].map(({ metadata }) => metadata.name);
    if (inside.length > 0) {
      throw conflict(`namespace ${name} has functions, remove them first: ${inside.slice(0, 5).join(', ')}`);
    }
    try {
      const { uid = '' } = actual.metadata;
      await client.remove(kinds.namespaces, undefined, name, {
        propagationPolicy: 'Background',
        preconditions: { uid },
      });
    } catch (error) {
      throw toldOf(error, `namespace ${name}`);
    }
    namespaces.bury(actual);
  }

  #needSelector(): void {
    if (this.#selector !== undefined) return;
    throw conflict('the configuration of the provider names its namespaces: with namespaceSelector they are found');
  }
}

/** What a selector such as `openfaas=1,team in (a)` asks for by `=`. */
function labelsOf(selector = ''): Record<string, string> {
  const equal = [...selector.matchAll(/(?:^|,)\s*([^\s=!,()]+)\s*==?\s*([^\s=!,()]*)/g)];
  return Object.fromEntries(equal.map(([, key = '', value = '']) => [key, value]));
}

/** Kubernetes keeps labels of its own on each. */
function changed(actual: KubeNamespace, wanted: Omit<Namespace, 'name'>): KubeNamespace {
  const own = Object.entries(actual.metadata.labels ?? {}).filter(([key]) => /(^|\.)kubernetes\.io\//.test(key));
  const labels = { ...wanted.labels, ...Object.fromEntries(own) };
  return { ...actual, metadata: { ...actual.metadata, labels, annotations: { ...wanted.annotations } } };
}

function conflict(message: string): MillraceError {
  return new MillraceError('request.conflict', message);
}
