import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pino } from 'pino';
import { connectors } from '../../connectors/index.ts';
import { loadConfig } from '../../core/config/load.ts';
import { compose } from '../../core/host/compose.ts';
import { Gateway, type ReloadResult } from '../../core/host/gateway.ts';
import { Registry } from '../../core/host/registry.ts';
import { connections } from '../../plugins/connections/index.ts';
import { providers } from '../../plugins/providers/index.ts';
import { queues } from '../../plugins/queues/index.ts';
import { stores } from '../../plugins/stores/index.ts';

export const inlinePlugin = join(import.meta.dirname, 'plugins/inline.ts');

/** A registry with the built-in plugins, as main makes it. */
export function builtIns(): Registry {
  return new Registry({ connections, connectors, queues, stores, providers });
}

/** What a test's gateway has unless its YAML says otherwise: everything in memory, free ports. */
export const testDefaults = {
  queues: { default: { kind: 'memory', allowVolatile: true } },
  stores: { default: { kind: 'memory' } },
  providers: { inline: { kind: 'inline-test' } },
  connectors: { http: { kind: 'http' } },
};

export interface TestGateway extends AsyncDisposable {
  readonly gateway: Gateway;
  readonly url: string;
  /** The folder of its configuration. */
  readonly folder: string;
  /** Has it take up another configuration, as serve does it when the file has changed. */
  reload(yaml: string): Promise<ReloadResult>;
}

/** Starts a gateway in this process on the YAML, in a folder of its own. */
export async function testGateway(
  yaml: string,
  environment: Record<string, string> = {},
  plugins: readonly string[] = [inlinePlugin],
): Promise<TestGateway> {
  const { gateway, folder, registry, starting } = await startingGateway(yaml, environment, plugins);
  try {
    await starting;
  } catch (error) {
    await gateway.stop(0); // As serve does it: nothing of it is to be left.
    throw error;
  }
  const reload = async (next: string): Promise<ReloadResult> => {
    const file = write(folder, next, plugins);
    return gateway.reload(await loadConfig(file, registry, testDefaults, environment));
  };
  return { gateway, url: gateway.url, folder, reload, [Symbol.asyncDispose]: () => gateway.stop(1000) };
}

/** As above, still starting; whoever calls it awaits `starting`. */
export async function startingGateway(
  yaml: string,
  environment: Record<string, string> = {},
  plugins: readonly string[] = [inlinePlugin],
): Promise<{
  readonly gateway: Gateway;
  readonly folder: string;
  readonly registry: Registry;
  readonly starting: Promise<void>;
}> {
  const file = write(mkdtempSync(join(tmpdir(), 'millrace-test-')), yaml, plugins);
  const registry = builtIns();
  const { config, problems } = await loadConfig(file, registry, testDefaults, environment);
  if (!config) throw new Error(problems.map(({ text }) => text).join('\n'));
  const logger = pino({ level: process.env['MILLRACE_TEST_LOG'] ?? 'silent' });
  const gateway = new Gateway(compose(config, logger), dirname(file), problems);
  return { gateway, folder: dirname(file), registry, starting: gateway.start() };
}

/** Has every test's gateway answer by so many processes: `MILLRACE_TEST_PROCESSES=3 npx vitest run …`. */
const processes = process.env['MILLRACE_TEST_PROCESSES'];

function write(folder: string, yaml: string, plugins: readonly string[]): string {
  const file = join(folder, 'millrace.yaml');
  const ports = yaml.includes('gateway:') ? '' : 'gateway: { listen: { port: 0 }, management: { port: 0 } }\n';
  const text = `plugins: [${plugins.join(', ')}]\n${ports}${yaml}`;
  writeFileSync(
    file,
    processes === undefined ? text : text.replace('gateway: {', `gateway: { processes: ${processes},`),
  );
  return file;
}

/** Resolves with the first value that is not undefined, asking again and again; the test's own timeout ends it. */
export async function eventually<T>(ask: () => T | undefined | Promise<T | undefined>): Promise<T> {
  for (;;) {
    const value = await ask();
    if (value !== undefined) return value;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
