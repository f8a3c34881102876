import { join } from 'node:path';

const folder = join(import.meta.dirname, 'functions');

export interface CrashFunction {
  readonly name: string;
  /** On the main thread, where it costs no thread; the death of such a function would be the gateway's. */
  readonly inline: boolean;
  readonly concurrency: number;
  readonly attempts: number;
}

const memory = '{ kind: memory }';

/** A gateway with those functions over that queue, stopped with that notice. Each writes into the ledger of executions when it begins and ends. */
export function configuration(
  queue: string,
  functions: readonly CrashFunction[],
  ledger: string,
  { store = memory, notice = '0s' }: { readonly store?: string | undefined; readonly notice?: string } = {},
): string {
  const entries = functions.map(
    ({ name, inline, concurrency, attempts }) => `
  ${name}:
    module: ${join(folder, `${name}.ts`)}
    env: { LEDGER: ${ledger} }
    ${inline ? 'isolation: none' : 'pool: { max: 2 }'}
    invoke:
      timeout: 60s
      concurrency: ${concurrency}
      retry: { attempts: ${attempts}, backoff: { kind: fixed, initial: 20ms, jitter: none } }`,
  );
  return `
gateway:
  listen: { port: 0 }
  management: { port: 0 }
  shutdown: { notice: ${notice}, drain: 20s }
${queue}
stores:
  default: ${store}
functions:${entries.join('')}
observability: { logs: { format: json, level: info } }
`;
}
