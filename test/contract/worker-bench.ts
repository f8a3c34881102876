import { fileURLToPath } from 'node:url';
import type { ProviderBench } from '../../core/testing/index.ts';
import worker from '../../plugins/providers/worker/index.ts';
import { type Config, type StartedProvider, startProvider } from './provider-bench.ts';

export const functionsFolder = fileURLToPath(new URL('../fixtures/functions/', import.meta.url));

export interface WorkerBench extends ProviderBench, Pick<StartedProvider, 'logs'> {
  /** Deploys a module of any name, with the provider's own keys of the function. */
  readonly deployModule: StartedProvider['deployFunction'];
}

/** A worker provider on the fixtures. `functionConfig` is added to that of each function. */
export async function workerBench(
  config: Config = {},
  functionConfig: Config = {},
  modules: Readonly<Partial<Record<string, string>>> = {},
): Promise<WorkerBench> {
  const { deployFunction, ...started } = await startProvider(worker, config, functionsFolder);
  const deployModule: WorkerBench['deployModule'] = (name, own, env) =>
    deployFunction(name, { ...functionConfig, ...own }, env);
  return {
    ...started,
    deployModule,
    deploy: (role) => deployModule(`${role}.test`, { module: modules[role] ?? `${role}.ts` }),
    dispose: () => started.provider.stop(0),
  };
}
