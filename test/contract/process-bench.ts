import { fileURLToPath } from 'node:url';
import type { ProviderBench, Role } from '../../core/testing/provider-contract.ts';
import process from '../../plugins/providers/process/index.ts';
import { eventually } from '../support/gateway.ts';
import { type Config, type StartedProvider, startProvider } from './provider-bench.ts';

export const processFolder = fileURLToPath(new URL('../fixtures/process/', import.meta.url));

/** The command of a server of a role, and of anything else that the fixture knows. */
export const server = (role: string): Config => ({
  mode: 'http',
  command: ['env', `ROLE=${role}`, nodeProgram, 'server.ts'],
});
const nodeProgram = globalThis.process.execPath;

/** Roles as commands: they can say nothing but bytes. */
const commands: Readonly<Record<Role, string>> = {
  echo: 'exec cat',
  fail: 'echo oops >&2; exit 1',
  slow: 'read ms || :; sleep $((ms / 1000)).$(printf %03d $((ms % 1000))); printf done',
  crash: 'kill -KILL $$',
  flood: 'exec cat /dev/zero',
  breaks: 'echo "the first part"; sleep 0.05; exit 1',
  stream: 'for n in 0 1 2 3 4; do echo "chunk $n"; sleep 0.1; done',
};

export const script = (text: string): Config => ({ command: ['sh', '-c', text] });

export interface ProcessBench extends ProviderBench, Omit<StartedProvider, 'statuses' | 'provider'> {
  /** Deploys it, and waits until it can be called. */
  readonly deployReady: StartedProvider['deployFunction'];
}

/** A process provider whose functions run as `own` says: scripts, or servers where its mode is `http`. */
export async function processBench(config: Config = {}, own: Config = {}): Promise<ProcessBench> {
  const started = await startProvider(process, { grace: '300ms', ...config }, processFolder);
  const deployReady: ProcessBench['deployReady'] = async (name, functionConfig, env) => {
    const told = started.statuses.length;
    const entry = await started.deployFunction(name, functionConfig, env);
    await eventually(() => {
      const status = started.statuses.slice(told).findLast((status) => status.name === name);
      if (status?.state === 'failed') throw new Error(status.message);
      return status?.state === 'ready' || undefined;
    });
    return entry;
  };
  const mode = own['mode'];
  return {
    ...started,
    ...(mode === 'http' ? {} : { lacks: mode === 'streaming' ? ['head'] : ['head', 'stream'] }),
    deployReady,
    deploy: (role) =>
      deployReady(`${role}.test`, { ...(mode === 'http' ? server(role) : script(commands[role])), ...own }),
    dispose: () => started.provider.stop(0),
  };
}
