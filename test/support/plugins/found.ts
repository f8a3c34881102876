import { z } from 'zod';
import { defineProvider } from '../../../core/contracts/definition.ts';
import type { Deployment, DeploymentKeeper, FoundFunction, Namespace } from '../../../core/contracts/deployment.ts';
import { MillraceError, missingFunction } from '../../../core/contracts/errors.ts';
import type { FunctionSpec, Provider } from '../../../core/contracts/provider.ts';

/** A small cluster of this process, which others change as well. */
class Cluster {
  functions = new Map<string, FoundFunction>();
  namespaces: Namespace[] = [{ name: 'openfaas-fn', labels: {}, annotations: {} }];
  readonly #listeners = new Set<() => void>();
  /** What its provider was told to do, in order. */
  readonly told: string[] = [];

  put(name: string, annotations: Readonly<Record<string, string>> = {}, image = `example/${name}`): void {
    const namespace = 'openfaas-fn';
    const deployment: Deployment = {
      service: name,
      namespace,
      image,
      envVars: {},
      constraints: [],
      secrets: [],
      labels: {},
      annotations,
    };
    this.set(`${name}.${namespace}`, { deployment, createdAt: 1_700_000_000_000 });
  }

  set(name: string, found: FoundFunction | undefined): void {
    const functions = new Map(this.functions);
    if (found) functions.set(name, found);
    else functions.delete(name);
    this.functions = functions;
    for (const listener of this.#listeners) listener();
  }

  follow(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get followers(): number {
    return this.#listeners.size;
  }
}

/** One for each name, shared by the plugin that a gateway imports and the test. */
export const clusters: Record<string, Cluster> = ((
  globalThis as { millraceTestClusters?: Record<string, Cluster> }
).millraceTestClusters ??= {});

export function clusterOf(name: string): Cluster {
  return (clusters[name] ??= new Cluster());
}

/** A provider that keeps its functions itself. They answer with their image, and by 500 if that is `fails`. */
export default defineProvider({
  kind: 'found-test',
  summary: 'Functions of the tests that are there whether a gateway knows of them or not.',
  config: z.strictObject({ cluster: z.string().describe('Which.') }),
  functionConfig: z.strictObject({ image: z.string().describe('What it is made of.') }),
  examples: [{ cluster: 'one' }],
  deployment: ({ image }) => ({ image }),
  create: ({ cluster: clusterName }, host): Provider => {
    const cluster = clusterOf(clusterName);
    const keeper: DeploymentKeeper = {
      functions: () => cluster.functions,
      onChange: (listener) => cluster.follow(listener),
      deploy: async (deployment, how) => {
        const name = `${deployment.service}.${deployment.namespace}`;
        const before = cluster.functions.get(name);
        if (how === 'create' && before) throw new MillraceError('request.conflict', `${name} is there`);
        if (how === 'update' && !before) throw missingFunction(name);
        cluster.set(name, { deployment, createdAt: 1_700_000_000_000 });
      },
      remove: async (name) => {
        if (!cluster.functions.has(name)) throw missingFunction(name);
        cluster.set(name, undefined);
      },
      namespaces: () => cluster.namespaces,
      putNamespace: async (namespace) => void cluster.namespaces.push(namespace),
      removeNamespace: async (name) => {
        cluster.namespaces = cluster.namespaces.filter((one) => one.name !== name);
      },
    };
    return {
      deployments: keeper,
      start: async () => undefined,
      deploy: async ({ name, annotations }: FunctionSpec) => {
        cluster.told.push(`deploy ${name}`);
        if (annotations['broken'] !== undefined) throw new MillraceError('plugin.failed', `${name} is broken`);
        host.report({ name, state: 'ready', replicas: 1, availableReplicas: 1, capacity: 10 });
      },
      remove: async (name) => void cluster.told.push(`remove ${name}`),
      invoke: async ({ spec }) => {
        const { image } = spec.config as { image: string };
        return {
          status: image === 'fails' ? 500 : 200,
          headers: {},
          body: image,
          durationMs: 0,
          failure: undefined,
          error: undefined,
        };
      },
      stop: async () => undefined,
    };
  },
});
