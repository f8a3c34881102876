import { resolve } from 'node:path';
import type { z } from 'zod';
import type { ProviderHost } from '../../../core/contracts/definition.ts';
import { MillraceError } from '../../../core/contracts/errors.ts';
import type { Outcome } from '../../../core/contracts/invocation.ts';
import type { Call, FunctionEntry, FunctionSpec, Provider } from '../../../core/contracts/provider.ts';
import { namespaceOf } from '../../../core/kit/names.ts';
import { failed, stopping } from '../../../core/kit/outcome.ts';
import { Forks } from './forks.ts';
import type { processConfig, processFunction } from './index.ts';
import { withinLimits } from './limited-call.ts';
import { Reaper } from './reaper.ts';
import type { Runner, RunnerOwner, RunnerStatus } from './runner.ts';
import { KeptSecrets } from './kept-secrets.ts';
import { linkSecrets, SecretsFolder } from './secrets.ts';
import { Servers } from './servers.ts';
import { type FunctionSettings, settingsOf } from './settings.ts';

interface Deployed {
  readonly runner: Runner;
  readonly secrets: SecretsFolder | undefined;
  /** What it replaces, which takes the calls until this one can. */
  before: Deployed | undefined;
  status: RunnerStatus | undefined;
}

/** Runs functions as processes of this host. */
export class ProcessProvider implements Provider {
  readonly secrets: KeptSecrets | undefined;
  readonly #config: z.output<typeof processConfig>;
  readonly #host: ProviderHost;
  readonly #reaper: Reaper;
  readonly #functions = new Map<string, Deployed>();
  /** What was replaced or removed, while something still runs in it. */
  readonly #closing = new Map<Runner, Promise<void>>();
  #isStopping = false;

  constructor(config: z.output<typeof processConfig>, host: ProviderHost) {
    this.#config = config;
    this.#host = host;
    const { secretsPath } = this;
    this.secrets = secretsPath === undefined ? undefined : new KeptSecrets(secretsPath);
    this.#reaper = new Reaper(host.logger);
  }

  async start(): Promise<void> {
    const { secretsLink } = this.#config;
    if (secretsLink !== undefined) {
      const { secretsPath } = this;
      if (secretsPath === undefined) throw new MillraceError('config.invalid', 'secretsLink needs secretsPath');
      await linkSecrets(secretsLink, secretsPath);
    }
    this.#reaper.start();
  }

  get secretsPath(): string | undefined {
    const { secretsPath } = this.#config;
    return secretsPath === undefined ? undefined : resolve(this.#host.baseFolder, secretsPath);
  }

  async deploy(spec: FunctionSpec): Promise<void> {
    const { secrets: names, unenforced } = spec.config as z.output<typeof processFunction>;
    if (unenforced.length > 0 && this.#config.unenforced === 'refuse') {
      const text = `function ${spec.name} asks for what processes cannot be held to (${unenforced.join(', ')})`;
      throw new MillraceError('request.invalid', `${text}: leave it out, or set "unenforced: ignore" for the provider`);
    }
    const settings = settingsOf(spec, this.#config, this.#host.baseFolder);
    const secrets = names.length === 0 ? undefined : await this.#secretsOf(spec, names);
    const runner = this.#runnerOf(
      secrets === undefined ? settings : { ...settings, env: { ...settings.env, SECRETS_PATH: secrets.path } },
    );
    const before = this.#functions.get(spec.name);
    const { upstream } = settings;
    // Two cannot listen on one port.
    const takesPort = upstream?.port !== undefined && upstream.port === before?.runner.settings.upstream?.port;
    const after = before && takesPort ? this.#close(before) : undefined;
    this.#functions.set(spec.name, { runner, secrets, before: takesPort ? undefined : before, status: undefined });
    runner.start(after);
  }

  async remove(name: string): Promise<void> {
    const deployed = this.#functions.get(name);
    this.#functions.delete(name);
    if (deployed) void this.#close(deployed);
  }

  invoke({ name }: FunctionEntry, call: Call): Promise<Outcome> {
    if (this.#isStopping) return Promise.resolve(failed('overload', stopping, 0));
    let deployed = this.#functions.get(name);
    if (!deployed) {
      const message = `function "${name}" is not deployed`;
      return Promise.resolve(failed('missing', { code: 'function.missing', message }, 0));
    }
    while (deployed.runner.available === 0 && deployed.before) deployed = deployed.before;
    const { runner } = deployed;
    return withinLimits(call, runner.settings, this.#host.clock, (limited) => runner.invoke(limited));
  }

  async scale(name: string, replicas: number): Promise<void> {
    const deployed = this.#functions.get(name);
    if (!deployed) throw new MillraceError('function.missing', `function "${name}" is not deployed`);
    const { upstream } = deployed.runner.settings;
    if (upstream?.port !== undefined && replicas > 1) {
      const text = `function ${name}: only one replica can listen on port ${upstream.port}`;
      throw new MillraceError('request.conflict', text);
    }
    deployed.runner.scale(replicas);
  }

  async stop(deadlineMs: number): Promise<void> {
    this.#isStopping = true;
    const open = [...this.#functions.values()].map((deployed) => this.#close(deployed));
    const runners = [...this.#closing.keys()];
    const timer = setTimeout(() => {
      for (const runner of runners) runner.kill();
    }, deadlineMs);
    await Promise.all([...open, ...this.#closing.values()]);
    clearTimeout(timer);
    this.#reaper.stop();
  }

  #runnerOf(settings: FunctionSettings): Runner {
    const { name } = settings;
    const { clock, logger } = this.#host;
    const owner: RunnerOwner = {
      clock,
      logger,
      reaper: this.#reaper,
      report: (status) => this.#report(name, runner, status),
      log: (pid, text, callId) => this.#host.functionLog({ function: name, instance: `${name}-${pid}`, text, callId }),
    };
    const runner = settings.mode === 'http' ? new Servers(settings, owner) : new Forks(settings, owner);
    return runner;
  }

  #report(name: string, runner: Runner, status: RunnerStatus): void {
    const deployed = this.#functions.get(name);
    if (deployed?.runner !== runner) return;
    const { before, status: last } = deployed;
    deployed.status = status;
    if (status.state === 'failed' && last?.message !== status.message) {
      this.#host.logger.error({ function: name, reason: status.message }, 'a function cannot run');
    }
    if (before && (status.availableReplicas > 0 || status.state === 'cold')) {
      deployed.before = undefined;
      void this.#close(before);
    }
    const told = (deployed.before && before?.status) ?? status;
    this.#host.report({ ...told, name, message: status.message });
  }

  async #secretsOf({ name, deployment }: FunctionSpec, names: readonly string[]): Promise<SecretsFolder> {
    try {
      // Those of the operator, beside the namespaces, are not for whoever may deploy.
      return await SecretsFolder.create(this.secretsPath, namespaceOf(name), names, deployment === undefined);
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error;
      throw new MillraceError(error.code, `function ${name}: ${error.message}`, { cause: error });
    }
  }

  /** What was accepted may finish, in its own time. */
  #close({ runner, secrets, before }: Deployed): Promise<void> {
    const known = this.#closing.get(runner);
    if (known) return known;
    const closing = Promise.all([runner.close(), before && this.#close(before)]).then(async () => {
      this.#closing.delete(runner);
      await secrets?.remove();
    });
    this.#closing.set(runner, closing);
    return closing;
  }
}
