import type { Command } from 'commander';
import { closeSync, openSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { loadConfig } from '../config/load.ts';
import { secretValues, withoutSecrets } from '../config/redact.ts';
import type { Config } from '../config/schema.ts';
import { ConfigWatch } from '../config/watch.ts';
import { systemClock } from '../contracts/clock.ts';
import { messageOf, MillraceError } from '../contracts/errors.ts';
import { plantedBug } from '../delivery/failpoint.ts';
import { compose } from '../host/compose.ts';
import { Gateway } from '../host/gateway.ts';
import { onStray } from '../host/plugins.ts';
import { clearUpOnceQuiet } from '../kit/garbage.ts';
import { createLogger, type LogOptions, logWarnings } from '../observe/log.ts';
import { asksForTraces, tracingOf } from '../observe/traces/asked.ts';
import type { Tracing } from '../observe/tracing.ts';
import { version } from '../version.ts';
import { type CliContext, standardConfig } from './context.ts';
import { type ExitCode, exitCodes } from './exit-codes.ts';

/** How long nothing has to be done after the start until what it took is given back, ms. */
const quietMs = 2000;

export function registerServe(program: Command, context: CliContext): void {
  program
    .command('serve')
    .description('run the gateway')
    .option('-c, --config <file>', 'the configuration', standardConfig)
    .action(async ({ config }: { config: string }) => {
      process.exitCode = await serve(config, context, { onReady: sayWhatToTry });
    });
}

/** How a gateway shows itself to whoever has started it. */
export interface Showing {
  /** Instead of what the configuration says. */
  readonly logs?: Pick<LogOptions, 'format' | 'write'>;
  /** Files are watched whatever the configuration says. */
  readonly watch?: boolean;
  readonly onReady: (gateway: Gateway, config: Config) => void;
}

/** Runs until a signal asks it to stop; returns the exit code. */
export async function serve(
  file: string,
  context: CliContext,
  { logs, watch: watches, onReady }: Showing,
): Promise<ExitCode> {
  const loaded = await loadConfig(file, context.registry, context.defaults);
  for (const problem of loaded.problems) console.error(problem.text);
  const { config } = loaded;
  if (!config) return exitCodes.usage;
  const { format, level } = config.observability.logs;
  const secrets = new Set(secretValues(config));
  let tracing: Tracing | undefined;
  const about = asksForTraces(process.env) ? (id: string): object | undefined => tracing?.about(id) : undefined;
  const logger = createLogger({ format, level, secrets, ...(about && { about }), ...logs });
  if (plantedBug !== undefined)
    logger.error({ bug: plantedBug }, 'MILLRACE_PLANT: this gateway has a bug, for tests only');
  try {
    tracing = await tracingOf(process.env, logger, version);
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error;
    console.error(`millrace cannot start: ${error.message}`);
    return exitCodes.usage;
  }
  const gateway = new Gateway(compose(config, logger, systemClock, tracing), dirname(resolve(file)), loaded.problems);
  const { promise: ended, resolve: end } = Promise.withResolvers<ExitCode>();
  const watch = new ConfigWatch(loaded.origin, () => reload('a file has changed'));
  let isAsked = false;
  let reloading: Promise<void> | undefined;
  let isReloadAsked = false;
  let isReady = false;

  // Whoever read the log has gone: no reason to stop serving.
  process.stdout.on('error', () => undefined);
  process.on('uncaughtException', stray);
  process.on('unhandledRejection', stray);
  logWarnings(logger);
  process.on('SIGHUP', (signal) => {
    if (isTerminalGone()) stop(signal);
    else if (isReady) void reload(signal);
    else isReloadAsked = true;
  });
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  try {
    await gateway.start();
  } catch (error) {
    if (isAsked) return ended; // What was still being dialled was given up.
    await gateway.stop(0).catch(() => undefined); // The reason for the failed start is what matters.
    if (error instanceof MillraceError || (error as NodeJS.ErrnoException).code === 'EADDRINUSE') {
      console.error(`millrace cannot start: ${withoutSecrets(messageOf(error), config)}`);
      return exitCodes.failed;
    }
    throw error;
  }
  configureWatch(config);
  logger.info({ version, url: gateway.url, management: gateway.managementUrl }, 'ready');
  onReady(gateway, config);
  clearUpOnceQuiet(quietMs);
  isReady = true;
  if (isReloadAsked) void reload('SIGHUP');
  return ended;

  /** One at a time; whoever asks meanwhile gets what stands in the files afterwards. Never rejects. */
  function reload(why: string): Promise<void> {
    isReloadAsked = true;
    reloading ??= reloadWhileAsked(why).finally(() => {
      reloading = undefined;
    });
    return reloading;
  }

  async function reloadWhileAsked(why: string): Promise<void> {
    while (isReloadAsked) {
      isReloadAsked = false;
      if (isAsked) return;
      logger.info({ why }, 'reading the configuration again');
      const now = await loadConfig(file, context.registry, context.defaults);
      watch.follow(now.origin);
      // What was one before may still be in use.
      for (const secret of now.config ? secretValues(now.config) : []) secrets.add(secret);
      const { result } = await gateway.reload(now);
      if (result === 'ok' && now.config) configureWatch(now.config);
    }
  }

  function configureWatch({ gateway: { reload: asked } }: Config): void {
    watch.configure(watches ? { ...asked, watch: true } : asked);
  }

  function stop(signal: NodeJS.Signals): void {
    isAsked = true;
    watch.stop();
    logger.info({ signal }, 'stopping');
    process.once('SIGINT', () => end(exitCodes.failed)); // Asked twice: at once.
    gateway.stop().then(
      () => end(exitCodes.ok),
      (error: unknown) => {
        logger.fatal({ err: error }, 'stopping failed');
        end(exitCodes.failed);
      },
    );
  }

  function stray(error: unknown): void {
    if (onStray(error, logger)) return;
    logger.fatal(
      { err: error },
      'a bug in Millrace: ending, since what follows cannot be trusted; nothing accepted is lost',
    );
    end(exitCodes.failed);
  }
}

/** A hangup asks a daemon to read its configuration again, and tells whoever was started by hand that nobody is left. */
function isTerminalGone(): boolean {
  if (!process.stdout.isTTY) return false;
  try {
    closeSync(openSync('/dev/tty', 'r'));
    return false;
  } catch {
    return true; // There is none any more.
  }
}

function sayWhatToTry({ url, managementUrl }: Gateway, { functions, gateway: { console: hasConsole } }: Config): void {
  if (!process.stdout.isTTY && process.env['MILLRACE_HINTS'] !== '1') return;
  const names = [...functions.keys()];
  const name = (names.find((candidate) => candidate.startsWith('echo')) ?? names[0] ?? 'NAME').replace(
    /\.openfaas-fn$/,
    '',
  );
  console.log(`
  Millrace ${version} listens on ${url}

  call a function          curl ${url}/function/${name} -d 'hello'
  run it later             curl -i ${url}/async-function/${name} -d 'hello'
  fetch the result         curl '${url}/invocations/ID/result?wait=10s'
  wait up to 5 s           curl -i ${url}/function/${name} -H 'Prefer: respond-async, wait=5' -d 'hello'
  what is queued           npm run millrace -- queues
  what went wrong          npm run millrace -- dead-letters list
  metrics                  curl ${managementUrl}/metrics
${hasConsole ? `  all of it, by hand       ${url}/ui/\n` : ''}`);
}
