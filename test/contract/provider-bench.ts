import pino from 'pino';
import { systemClock } from '../../core/contracts/clock.ts';
import type { PluginDefinition, ProviderDefinition, ProviderHost } from '../../core/contracts/definition.ts';
import type { FunctionEntry, FunctionSpec, FunctionStatus, Provider } from '../../core/contracts/provider.ts';
import { makeEntry } from '../../core/testing/index.ts';

export interface LogLine {
  readonly function: string;
  readonly instance: string;
  readonly text: string;
  readonly callId?: string | undefined;
}

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
  const statuses: FunctionStatus[] = [];
  const logs: LogLine[] = [];
  const host: ProviderHost = {
    name: definition.kind,
    logger: pino({ level: process.env['MILLRACE_TEST_LOG'] ?? 'silent' }),
    clock: systemClock,
    metrics: { counter: () => ({ inc: () => undefined }), gauge: () => ({ set: () => undefined }) },
    signal: new AbortController().signal,
    baseFolder,
    connection: () => {
      throw new Error('there is no connection here');
    },
    fail: () => undefined,
    report: (status) => statuses.push(status),
    functionLog: (line) => logs.push(line),
  };
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
  return { provider, statuses, logs, deployFunction };
}
