#!/usr/bin/env node
import './v8-flags.ts';
import { Command } from 'commander';
import { connectors } from '../connectors/index.ts';
import { connections } from '../plugins/connections/index.ts';
import { providers } from '../plugins/providers/index.ts';
import { queues } from '../plugins/queues/index.ts';
import { stores } from '../plugins/stores/index.ts';
import { registerCheck } from './cli/check.ts';
import { registerConfigShow } from './cli/config-show.ts';
import { registerConnections } from './cli/connections.ts';
import { registerConnectors } from './cli/connectors.ts';
import type { CliContext } from './cli/context.ts';
import { registerDeadLetters } from './cli/dead-letters.ts';
import { registerDeploy } from './cli/deploy.ts';
import { exitCodes } from './cli/exit-codes.ts';
import { registerFunctions } from './cli/functions.ts';
import { registerGenerate } from './cli/generate.ts';
import { registerInvocations } from './cli/invocations.ts';
import { registerInvoke } from './cli/invoke.ts';
import { registerLogs } from './cli/logs.ts';
import { registerPlan } from './cli/plan.ts';
import { registerPlugins } from './cli/plugins.ts';
import { registerQueues } from './cli/queues.ts';
import { registerSchema } from './cli/schema.ts';
import { registerSecrets } from './cli/secrets.ts';
import { registerServe } from './cli/serve.ts';
import { registerTest } from './cli/test.ts';
import { registerToken } from './cli/token.ts';
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

const program = new Command('millrace')
  .description('An event-driven function host.')
  .version(version)
  .showHelpAfterError()
  .exitOverride((error) => process.exit(error.exitCode === 0 ? exitCodes.ok : exitCodes.usage));

registerServe(program, context);
registerCheck(program, context);
registerTest(program, context);
registerPlan(program, context);
registerSchema(program, context);
registerPlugins(program, context);
registerToken(program);
registerConfigShow(program, context);
registerGenerate(program, context);
registerFunctions(program);
registerDeploy(program);
registerSecrets(program);
registerLogs(program);
registerInvoke(program);
registerInvocations(program);
registerConnections(program);
registerConnectors(program);
registerQueues(program);
registerDeadLetters(program);

await program.parseAsync().catch((error: unknown) => {
  console.error(error);
  process.exitCode = exitCodes.failed;
});
// Commands set the exit code and end by themselves, but for the gateway, whose threads may outlive a late stop.
process.exit(process.exitCode ?? exitCodes.ok);
