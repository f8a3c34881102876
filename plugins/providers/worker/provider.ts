import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { Readable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { format } from 'node:util';
import type { z } from 'zod';
import type { ProviderHost } from '../../../core/contracts/definition.ts';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { Outcome } from '../../../core/contracts/invocation.ts';
import type { Call, FunctionEntry, FunctionSpec, Provider, WorkQueueStats } from '../../../core/contracts/provider.ts';
import type { FunctionLog } from './api.ts';
import { failure } from './failure.ts';
import type { workerConfig, workerFunction } from './index.ts';
import { InlineFunction } from './inline.ts';
import { Pool } from './pool.ts';
import { collect } from './send-body.ts';
import type { PoolSettings } from './settings.ts';
import { ModuleWatch } from './watch.ts';

/** A body that says it is no longer than this is collected first, so that it occupies no thread while it comes. */
const shortBody = 64 * 1024;
/** Functions on the main thread are bounded by their policy alone. */
const inlineCapacity = 100_000;

interface Deployed {
  readonly module: string;
  readonly runner: Pool | InlineFunction;
  generation: number;
}

/** Runs functions in threads of this process, or on its main one. */
export class WorkerProvider implements Provider {
  readonly #config: z.output<typeof workerConfig>;
  readonly #host: ProviderHost;
  readonly #functions = new Map<string, Deployed>();
  readonly #watch: ModuleWatch;

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
    await this.remove(spec.name);
    if (config.isolation === 'none') {
      const runner = new InlineFunction(settings, this.#host.clock, this.#log(spec.name));
      const deployed: Deployed = { module, runner, generation: 0 };
      this.#functions.set(spec.name, deployed);
      await this.#import(spec.name, deployed, runner);
    } else {
      const runner = new Pool(settings, this.#host.clock, {
        changed: (pool) => this.#report(spec.name, pool),
        log: (line) => this.#host.functionLog(line),
      });
      this.#functions.set(spec.name, { module, runner, generation: 0 });
      this.#report(spec.name, runner);
    }
    if (this.#config.watch) this.#watch.add(module);
  }

  async remove(name: string): Promise<void> {
    const deployed = this.#functions.get(name);
    if (!deployed) return;
    this.#functions.delete(name);
    if (![...this.#functions.values()].some(({ module }) => module === deployed.module))
      this.#watch.remove(deployed.module);
    // What runs may finish, in its own time: nobody waits for it here.
    if (deployed.runner instanceof Pool) void deployed.runner.stop(this.#config.grace);
  }

  invoke({ name }: FunctionEntry, call: Call): Promise<Outcome> {
    const runner = this.#functions.get(name)?.runner;
    if (!runner) return Promise.resolve(failure('missing', 'function.missing', `function ${name} is not deployed`, 0));
    if (runner instanceof InlineFunction) return runner.run(call);
    const { body, headers } = call.invocation;
    if (!(body instanceof Readable)) return runner.run(call, body);
    const length = Number(headers['content-length']);
    if (!(length <= shortBody)) return runner.run(call, body);
    const startedAt = this.#host.clock.monotonic();
    return collect(body, shortBody).then(
      (bytes) => runner.run(call, bytes),
      (error: unknown) =>
        failure('cancelled', 'invocation.client-gone', messageOf(error), this.#host.clock.monotonic() - startedAt),
    );
  }

  workQueues(): readonly WorkQueueStats[] {
    return [...this.#functions.values()].flatMap(({ runner }) => (runner instanceof Pool ? [runner.stats()] : []));
  }

  async stop(deadlineMs: number): Promise<void> {
    this.#watch.stop();
    const pools = [...this.#functions.values()].map(({ runner }) => runner).filter((runner) => runner instanceof Pool);
    await Promise.all(pools.map((pool) => pool.stop(deadlineMs)));
  }

  #settings(spec: FunctionSpec, config: z.output<typeof workerFunction>, module: string): PoolSettings {
    const { pool, perThread, memory, grace, start, maxBody } = this.#config;
    const max = config.pool.max ?? pool.max ?? Math.max(2, availableParallelism());
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

  /** A pool without threads is ready all the same: the next call starts one. */
  #report(name: string, pool: Pool): void {
    if (this.#functions.get(name)?.runner !== pool) return; // Replaced meanwhile.
    const { threads, capacity, importError } = pool;
    this.#host.report({
      name,
      state: 'ready',
      replicas: Math.max(1, threads),
      availableReplicas: importError === undefined ? Math.max(1, threads) : 0,
      capacity,
      message: importError,
    });
  }

  async #import(name: string, deployed: Deployed, runner: InlineFunction): Promise<void> {
    const status = { name, replicas: 1, capacity: inlineCapacity };
    try {
      await runner.load(deployed.generation);
      this.#host.report({ ...status, state: 'ready', availableReplicas: 1 });
    } catch (error) {
      const message = messageOf(error);
      this.#host.logger.error({ function: name, reason: message }, 'a function cannot be imported');
      this.#host.report({ ...status, state: 'failed', availableReplicas: 0, message });
    }
  }

  #moduleChanged(module: string): void {
    for (const [name, deployed] of this.#functions) {
      if (deployed.module !== module) continue;
      deployed.generation++;
      this.#host.logger.info({ function: name }, 'the module has changed: taking it up');
      const { runner } = deployed;
      if (runner instanceof Pool) runner.reload({ ...runner.settings });
      else void this.#import(name, deployed, runner);
    }
  }

  #log(name: string): FunctionLog {
    const line =
      (level: string) =>
      (...values: readonly unknown[]) =>
        this.#host.functionLog({ function: name, instance: 'main', text: `${level} ${format(...values)}` });
    return { debug: line('DEBUG'), info: line('INFO'), warn: line('WARN'), error: line('ERROR') };
  }
}
