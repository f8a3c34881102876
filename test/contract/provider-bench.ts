import type { PluginDefinition, ProviderDefinition } from '../../core/contracts/definition.ts';
import type { FunctionEntry, FunctionSpec, FunctionStatus, Provider } from '../../core/contracts/provider.ts';
import { makeEntry } from '../../core/testing/index.ts';
import { type LogLine, recordingHost } from '../support/provider-host.ts';

export type Config = Readonly<Record<string, unknown>>;

/** A started provider, with what it has told its host. */
export interface StartedProvider {
  readonly provider: Provider;
  readonly statuses: readonly FunctionStatus[];
  readonly logs: readonly LogLine[];
  /** Deploys a function of any name, with the provider's own keys of it. */
  readonly deployFunction: (
    name: string,
    config: Config,
    env?: Readonly<Record<string, string>>,
  ) => Promise<FunctionEntry>;
}

export async function startProvider(
  plugin: PluginDefinition,
  config: Config,
  baseFolder: string,
): Promise<StartedProvider> {
  const definition = plugin as ProviderDefinition;
  const host = recordingHost(baseFolder);
  const provider = definition.create(definition.config.parse(config), host);
  await provider.start();
  const deployFunction: StartedProvider['deployFunction'] = async (name, own, env = {}) => {
    const parsed = definition.functionConfig.parse(own);
    const spec: FunctionSpec = {
      name,
      provider: definition.kind,
      config: parsed,
      env,
      labels: {},
      annotations: {},
    };
    await provider.deploy(spec);
    return makeEntry(provider, spec);
  };
  return { provider, statuses: host.statuses, logs: host.logs, deployFunction };
}
