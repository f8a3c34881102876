import { fileURLToPath } from 'node:url';
import type { FunctionEntry, FunctionSpec, Provider } from '../../core/contracts/provider.ts';
import { makeEntry, type ProviderBench } from '../../core/testing/index.ts';
import worker from '../../plugins/providers/worker/index.ts';
import { type LogLine, recordingHost } from '../support/provider-host.ts';

export const functionsFolder = fileURLToPath(new URL('../fixtures/functions/', import.meta.url));

export interface WorkerBench extends ProviderBench {
  readonly logs: readonly LogLine[];
  /** Deploys a module of any name, with the provider's own keys of the function. */
  readonly deployModule: (
    name: string,
    config: Readonly<Record<string, unknown>>,
    env?: Readonly<Record<string, string>>,
  ) => Promise<FunctionEntry>;
}

/** A worker provider on the fixtures. `functionConfig` is added to that of each function. */
export async function workerBench(
  config: Readonly<Record<string, unknown>> = {},
  functionConfig: Readonly<Record<string, unknown>> = {},
  modules: Readonly<Partial<Record<string, string>>> = {},
): Promise<WorkerBench> {
  const definition = worker;
  const host = recordingHost(functionsFolder);
  const provider: Provider = definition.create(definition.config.parse(config), host);
  await provider.start();
  const deployModule: WorkerBench['deployModule'] = async (name, own, env = {}) => {
    const spec: FunctionSpec = {
      name,
      provider: 'worker',
      config: definition.functionConfig.parse({ ...functionConfig, ...own }),
      env,
      labels: {},
      annotations: {},
    };
    await provider.deploy(spec);
    return makeEntry(provider, spec);
  };
  return {
    provider,
    statuses: host.statuses,
    logs: host.logs,
    deployModule,
    deploy: (role) => deployModule(`${role}.test`, { module: modules[role] ?? `${role}.ts` }),
    dispose: () => provider.stop(0),
  };
}
