import type { FunctionSecrets, SecretName } from '../../../core/contracts/deployment.ts';
import { MillraceError } from '../../../core/contracts/errors.ts';
import { metadataOnly } from './client.ts';
import type { Cluster } from './cluster.ts';
import { isKubeError, notStarted, toldOf } from './kube-error.ts';
import { type KubeSecretName, kinds, pathOf } from './kinds.ts';
import { managedByLabel, openfaas } from './objects/words.ts';

/**
 * Secrets of functions, as faas-netes keeps them: of the label by which it knows its own, with one value of the secret's
 * name. Values go to the API server and nowhere else: not even its answers bring them back.
 */
export class ClusterSecrets implements FunctionSecrets {
  #cluster: Cluster | undefined;

  open(cluster: Cluster): void {
    this.#cluster = cluster;
  }

  async list(namespace: string): Promise<readonly SecretName[]> {
    const names = [...this.#open(namespace).secrets.list(namespace)]
      .filter(isOurs)
      .map(({ metadata }) => metadata.name);
    return names.toSorted().map((name) => ({ name, namespace }));
  }

  async create({ name, namespace }: SecretName, value: Uint8Array): Promise<boolean> {
    const { client, secrets } = this.#open(namespace);
    try {
      const made = await client.ask<KubeSecretName>({
        method: 'POST',
        path: pathOf(kinds.secrets, namespace),
        body: {
          apiVersion: 'v1',
          kind: 'Secret',
          metadata: { name, namespace, labels: { [managedByLabel]: openfaas } },
          type: 'Opaque',
          data: dataOf(name, value),
        },
        accept: metadataOnly.object,
      });
      secrets.learn(made);
      return true;
    } catch (error) {
      if (isKubeError(error, 409)) return false;
      throw toldOf(error, `secret ${name}`);
    }
  }

  async update({ name, namespace }: SecretName, value: Uint8Array): Promise<boolean> {
    const { client, secrets } = this.#open(namespace);
    const known = secrets.get(namespace, name);
    if (!known || !isOurs(known)) return false;
    try {
      const written = await client.ask<KubeSecretName>({
        method: 'PATCH',
        path: pathOf(kinds.secrets, namespace, name),
        // The whole of it: `add` replaces what is there.
        body: [{ op: 'add', path: '/data', value: dataOf(name, value) }],
        contentType: 'application/json-patch+json',
        accept: metadataOnly.object,
      });
      secrets.learn(written);
      return true;
    } catch (error) {
      if (isKubeError(error, 404)) return false;
      throw toldOf(error, `secret ${name}`);
    }
  }

  async remove({ name, namespace }: SecretName): Promise<boolean> {
    const { client, secrets } = this.#open(namespace);
    const known = secrets.get(namespace, name);
    if (!known || !isOurs(known)) return false;
    const { uid = '' } = known.metadata;
    const options = { propagationPolicy: 'Background', preconditions: { uid } } as const;
    try {
      await client.remove(kinds.secrets, namespace, name, options);
    } catch (error) {
      if (!isKubeError(error, 404, 409)) throw toldOf(error, `secret ${name}`);
    }
    secrets.bury(known);
    return true;
  }

  #open(namespace: string): Cluster {
    if (!this.#cluster) throw notStarted();
    if (this.#cluster.namespaceNames.has(namespace)) return this.#cluster;
    throw new MillraceError('request.invalid', `${namespace} is no namespace of functions`);
  }
}

/** What others keep in the namespace is not for clients of the gateway to list, change or remove. */
function isOurs({ metadata }: KubeSecretName): boolean {
  return metadata.labels?.[managedByLabel] === openfaas;
}

function dataOf(name: string, value: Uint8Array): Record<string, string> {
  return { [name]: Buffer.from(value).toString('base64') };
}
