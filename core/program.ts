import './v8-flags.ts';
import { Command } from 'commander';
import { connectors } from '../connectors/index.ts';
import { connections } from '../plugins/connections/index.ts';
import { providers } from '../plugins/providers/index.ts';
import { queues } from '../plugins/queues/index.ts';
import { stores } from '../plugins/stores/index.ts';
import { registerCommands } from './cli/commands.ts';
import { errorJson } from './cli/command.ts';
import type { CliContext } from './cli/context.ts';
import { exitCodes } from './cli/exit-codes.ts';
import { Registry } from './host/registry.ts';
import { version } from './version.ts';

// The one place that names the built-in plugins: they register as a stranger's do, and core knows none of them.
const context: CliContext = {
  registry: new Registry({ connections, connectors, queues, stores, providers }),
  defaults: {
    queues: { default: { kind: 'sqlite', path: 'data/queue.db' } },
    stores: { default: { kind: 'sqlite', path: 'data/store.db' } },
    providers: { worker: { kind: 'worker' } },
    connectors: { http: { kind: 'http' } },
  },
};

const isForScripts = process.argv.includes('--json');

const program = new Command('millrace')
  .description('An event-driven function host.')
  .version(version)
  .showHelpAfterError(!isForScripts)
  .configureOutput({
    outputError: (text, write) =>
      write(
        isForScripts
          ? `${errorJson(
              text
                .replace(/^error: /, '')
                .trim()
                .replaceAll('\n', ' '),
              exitCodes.usage,
            )}\n`
          : text,
      ),
  })
  .exitOverride((error) => process.exit(error.exitCode === 0 ? exitCodes.ok : exitCodes.usage));

await registerCommands(program, context, process.argv[2]);
await program.parseAsync().catch((error: unknown) => {
  console.error(error);
  process.exitCode = exitCodes.failed;
});
// Commands set the exit code and end by themselves, but for the gateway, whose threads may outlive a late stop.
process.exit(process.exitCode ?? exitCodes.ok);
