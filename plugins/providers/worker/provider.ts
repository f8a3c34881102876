import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { z } from 'zod';
import type { ProviderHost } from '../../../core/contracts/definition.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { Outcome } from '../../../core/contracts/invocation.ts';
import type { Call, FunctionEntry, FunctionSpec, Provider, WorkQueueStats } from '../../../core/contracts/provider.ts';
import { failed } from '../../../core/kit/outcome.ts';
import type { workerConfig, workerFunction } from './index.ts';
import { InlineFunction } from './inline.ts';
import { Pool, type PoolOwner, statusOf } from './pool.ts';
import type { PoolSettings } from './settings.ts';
import { ModuleWatch } from './watch.ts';

/** Functions on the main thread are bounded by their policy alone. */
const inlineCapacity = 100_000;

interface Deployed {
  readonly module: string;
  readonly spec: FunctionSpec;
  /** Undefined until it is called, where no thread is kept for it: of thousands of functions most never are. */
  runner: Pool | InlineFunction | undefined;
}

/** Runs functions in threads of this process, or on its main one. */
export class WorkerProvider implements Provider {
  readonly #config: z.output<typeof workerConfig>;
  readonly #host: ProviderHost;
  readonly #functions = new Map<string, Deployed>();
  /** Pools of functions that were removed, while something still runs in them. */
  readonly #closing = new Set<Pool>();
  readonly #watch: ModuleWatch;
  /** Asked once: the system takes about 20 µs to say it, which counts where thousands of functions are deployed. */
  readonly #cores = availableParallelism();
  #stopping = false;

  constructor(config: z.output<typeof workerConfig>, host: ProviderHost) {
    this.#config = config;
    this.#host = host;
    this.#watch = new ModuleWatch(host.logger, (module) => this.#moduleChanged(module));
  }

  async start(): Promise<void> {}

  async deploy(spec: FunctionSpec): Promise<void> {
    const config = spec.config as z.output<typeof workerFunction>;
    const module = resolve(this.#host.baseFolder, config.module);
    if (!existsSync(module)) {
      throw new MillraceError('config.invalid', `function ${spec.name}: there is no file ${module}`);
    }
    const settings = this.#settings(spec, config, module);
    const before = this.#functions.get(spec.name);
    if (before) this.#forget(spec.name, before);
    if (config.isolation === 'none') {
      if (before?.runner instanceof Pool) this.#close(before.runner);
      const runner = new InlineFunction(settings, this.#host);
      this.#functions.set(spec.name, { module, spec, runner });
      await this.#import(runner);
    } else {
      // What runs goes on in the threads of before; calls that wait get the new ones.
      const kept = before?.runner instanceof Pool ? before.runner : undefined;
      const deployed: Deployed = { module, spec, runner: kept };
      this.#functions.set(spec.name, deployed);
      if (kept) kept.reload(settings);
      else if (settings.min > 0) this.#poolOf(deployed).start();
      else this.#host.report(statusOf(settings));
    }
    if (this.#config.watch) this.#watch.add(module);
  }

  async remove(name: string): Promise<void> {
    const deployed = this.#functions.get(name);
    if (!deployed) return;
    this.#forget(name, deployed);
    if (deployed.runner instanceof Pool) this.#close(deployed.runner);
  }

  invoke({ name }: FunctionEntry, call: Call): Promise<Outcome> {
    const deployed = this.#functions.get(name);
    if (deployed && !this.#stopping) return (deployed.runner ?? this.#poolOf(deployed)).invoke(call);
    const refusal = this.#stopping
      ? failed('overload', { code: 'gateway.stopping', message: 'the gateway is shutting down' }, 0)
      : failed('missing', { code: 'function.missing', message: `function ${name} is not deployed` }, 0);
    return Promise.resolve(refusal);
  }

  workQueues(): readonly WorkQueueStats[] {
    return [...this.#functions.values()].flatMap(({ runner, spec: { name } }) => {
      if (runner) return runner instanceof Pool ? [runner.stats()] : [];
      return [{ name, waiting: 0, running: 0, oldestAgeMs: 0 }];
    });
  }

  async stop(deadlineMs: number): Promise<void> {
    this.#stopping = true;
    this.#watch.stop();
    for (const { runner } of this.#functions.values()) if (runner instanceof Pool) this.#close(runner);
    this.#functions.clear();
    const pools = [...this.#closing];
    const timer = setTimeout(() => {
      for (const pool of pools) void pool.kill();
    }, deadlineMs);
    await Promise.all(pools.map((pool) => pool.close()));
    clearTimeout(timer);
  }

  #forget(name: string, { module }: Deployed): void {
    this.#functions.delete(name);
    if (![...this.#functions.values()].some((other) => other.module === module)) this.#watch.remove(module);
  }

  /** What was accepted may finish, in its own time: nobody waits for it here. */
  #close(pool: Pool): void {
    this.#closing.add(pool);
    void pool.close().then(() => this.#closing.delete(pool));
  }

  #poolOf(deployed: Deployed): Pool {
    const { module, spec } = deployed;
    const settings = this.#settings(spec, spec.config as z.output<typeof workerFunction>, module);
    const pool = new Pool(settings, this.#poolOwner(spec.name));
    deployed.runner = pool;
    return pool;
  }

  #poolOwner(name: string): PoolOwner {
    const { clock, logger } = this.#host;
    return {
      clock,
      report: (status) => {
        if (status.state === 'failed')
          logger.error({ function: name, reason: status.message }, 'a function cannot run');
        this.#host.report(status);
      },
      log: (instance, text, callId) => this.#host.functionLog({ function: name, instance, text, callId }),
    };
  }

  #settings(spec: FunctionSpec, config: z.output<typeof workerFunction>, module: string): PoolSettings {
    const { pool, perThread, memory, grace, start, maxBody } = this.#config;
    const max = config.pool.max ?? pool.max ?? Math.max(2, this.#cores);
    return {
      function: spec.name,
      moduleUrl: pathToFileURL(module).href,
      env: spec.env,
      min: Math.min(config.pool.min ?? pool.min, max),
      max,
      idleMs: config.pool.idle ?? pool.idle,
      perThread: config.perThread ?? perThread,
      memory: config.memory ?? memory,
      graceMs: grace,
      startMs: start,
      maxBody: config.maxBody ?? maxBody,
    };
  }

  async #import(runner: InlineFunction): Promise<void> {
    const { function: name } = runner.settings;
    const status = { name, replicas: 1, capacity: inlineCapacity };
    try {
      await runner.load();
      this.#host.report({ ...status, state: 'ready', availableReplicas: 1 });
    } catch (error) {
      const message = messageOf(error);
      this.#host.logger.error({ function: name, reason: message }, 'a function cannot run');
      this.#host.report({ ...status, state: 'failed', availableReplicas: 0, message });
    }
  }

  #moduleChanged(module: string): void {
    for (const [name, deployed] of this.#functions) {
      if (deployed.module !== module) continue;
      this.#host.logger.info({ function: name }, 'the module has changed: taking it up');
      const { runner } = deployed;
      if (runner instanceof Pool) runner.reload(runner.settings);
      else if (runner) void this.#import(runner);
    }
  }
}
