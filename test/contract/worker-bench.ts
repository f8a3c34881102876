import { fileURLToPath } from 'node:url';
import pino from 'pino';
import { systemClock } from '../../core/contracts/clock.ts';
import type { ProviderHost } from '../../core/contracts/definition.ts';
import type { FunctionEntry, FunctionSpec, FunctionStatus, Provider } from '../../core/contracts/provider.ts';
import { makeEntry, type ProviderBench } from '../../core/testing/index.ts';
import worker from '../../plugins/providers/worker/index.ts';

export const functionsFolder = fileURLToPath(new URL('../fixtures/functions/', import.meta.url));

export interface LogLine {
  readonly function: string;
  readonly instance: string;
  readonly text: string;
  readonly callId?: string | undefined;
}

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
  const statuses: FunctionStatus[] = [];
  const logs: LogLine[] = [];
  const host: ProviderHost = {
    name: 'worker',
    logger: pino({ level: 'silent' }),
    clock: systemClock,
    metrics: { counter: () => ({ inc: () => undefined }), gauge: () => ({ set: () => undefined }) },
    signal: new AbortController().signal,
    baseFolder: functionsFolder,
    connection: () => {
      throw new Error('there is no connection here');
    },
    fail: () => undefined,
    report: (status) => statuses.push(status),
    functionLog: (line) => logs.push(line),
  };
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
    statuses,
    logs,
    deployModule,
    deploy: (role) => deployModule(`${role}.test`, { module: modules[role] ?? `${role}.ts` }),
    dispose: () => provider.stop(0),
  };
}
