import type { FunctionEntry, FunctionSpec, FunctionStatus } from '../../core/contracts/provider.ts';
import { makeEntry, type ProviderBench } from '../../core/testing/index.ts';
import http from '../../plugins/providers/http/index.ts';
import { roleHandler, serve } from '../support/http-functions.ts';
import { recordingHost } from '../support/provider-host.ts';

export interface HttpProviderBench extends Omit<ProviderBench, 'deploy'>, AsyncDisposable {
  /** Deploys a function with the provider's own keys of it. */
  readonly deploy: (name: string, config: Readonly<Record<string, unknown>>) => Promise<FunctionEntry>;
  /** What it has said last of the function. */
  readonly status: (name: string) => FunctionStatus | undefined;
}

/** A started http provider. */
export async function httpBench(config: Readonly<Record<string, unknown>> = {}): Promise<HttpProviderBench> {
  const host = recordingHost('/');
  const provider = http.create(http.config.parse(config), host);
  await provider.start();
  const dispose = (): Promise<void> => provider.stop(0);
  return {
    provider,
    statuses: host.statuses,
    status: (name) => host.statuses.findLast((status) => status.name === name),
    deploy: async (name, own) => {
      const functionConfig = http.functionConfig.parse(own);
      const spec: FunctionSpec = {
        name,
        provider: 'http',
        config: functionConfig,
        env: {},
        labels: {},
        annotations: {},
      };
      await provider.deploy(spec);
      return makeEntry(provider, spec);
    },
    dispose,
    [Symbol.asyncDispose]: dispose,
  };
}

/** The functions of the contract, each at a path of one server of its own. */
export async function httpRolesBench(): Promise<ProviderBench> {
  const server = await serve(roleHandler);
  const bench = await httpBench();
  return {
    provider: bench.provider,
    statuses: bench.statuses,
    deploy: (role) => bench.deploy(`${role}.test`, { url: `${server.url}/${role}` }),
    dispose: async () => {
      await bench.dispose();
      await server[Symbol.asyncDispose]();
    },
  };
}
