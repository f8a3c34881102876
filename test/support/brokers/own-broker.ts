import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { finished } from './finished.ts';
import { Keeper } from './keeper.ts';
import type { BrokerKind, Plan, Recipe } from './plan.ts';
import { freePorts } from './ports.ts';
import { programsOf } from './programs.ts';
import { Running } from './running.ts';

export interface BrokerOptions {
  /** Lines for the end of the broker's file of settings; they come last and win. */
  readonly settings?: readonly string[];
  /** Where its folder is made; the system's for temporary files unless it is said. Benchmarks want a disk. */
  readonly parent?: string;
  /** Where it is to be reached, if that port is free; another one otherwise. */
  readonly port?: number;
}

const startMs = 90_000;

/** A broker for one test alone, which may end it as it likes. Its state outlives every end but that of `dispose`. */
export class OwnBroker implements AsyncDisposable {
  readonly kind: BrokerKind;
  readonly url: string;
  /** State, settings and log. */
  readonly folder: string;
  readonly #plan: Plan;
  readonly #keeper: Keeper;
  #main: Running | undefined;
  #beside: Running | undefined;

  private constructor(kind: BrokerKind, folder: string, plan: Plan, keeper: Keeper) {
    this.kind = kind;
    this.url = plan.url;
    this.folder = folder;
    this.#plan = plan;
    this.#keeper = keeper;
  }

  /**
   * Resolves once it serves.
   *
   * @throws BrokerMissing when its programs are not here and cannot be had.
   */
  static async start(kind: BrokerKind, recipe: Recipe, options: BrokerOptions = {}): Promise<OwnBroker> {
    const programs = await programsOf(recipe);
    for (let attempt = 1; ; attempt++) {
      const folder = mkdtempSync(join(options.parent ?? tmpdir(), `millrace-${kind}-`));
      const keeper = new Keeper(folder);
      try {
        const ports = await freePorts(recipe.ports, options.port);
        const plan = await recipe.plan({ folder, ports, programs, settings: options.settings ?? [] });
        const broker = new OwnBroker(kind, folder, plan, keeper);
        broker.#write();
        if (plan.first) await finished(plan.first.program, plan.first.args, plan.first.env);
        await broker.#start();
        return broker;
      } catch (error) {
        await keeper.finish();
        // Somebody else may have taken the port since it was found free.
        if (attempt === 3 || !/in use|eaddrinuse/i.test(String(error))) throw error;
      }
    }
  }

  /** Of the process that a signal from a test is to go to; the others of the broker are in its group. */
  get pid(): number {
    return this.#running().pid;
  }

  /** What it has written since its last start. */
  get log(): string {
    return this.#running().output;
  }

  /** Ends it as an administrator would. */
  async stop(): Promise<void> {
    await this.#main?.stop();
    this.#watch();
  }

  /** kill -9. */
  async kill(): Promise<void> {
    await this.#main?.kill();
    this.#watch();
  }

  /** Starts it again on the same port and state; stops it first if it runs. Resolves once it serves. */
  async restart(): Promise<void> {
    await this.stop();
    await this.#start();
  }

  /** SIGSTOP: its connections stay open, and nothing is answered. */
  pause(): void {
    this.#running().signal('SIGSTOP');
  }

  resume(): void {
    this.#running().signal('SIGCONT');
  }

  /** Ends it at once and removes all that it has kept. */
  async dispose(): Promise<void> {
    await Promise.all([this.#main?.kill(), this.#beside?.kill()]);
    this.#watch();
    await this.#keeper.finish();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #running(): Running {
    if (!this.#main) throw new Error(`the ${this.kind} broker was never started`);
    return this.#main;
  }

  #write(): void {
    for (const [name, text] of Object.entries(this.#plan.files)) writeFileSync(join(this.folder, name), text);
  }

  async #start(): Promise<void> {
    const { beside, main, ready } = this.#plan;
    if (beside && (!this.#beside || this.#beside.hasEnded)) this.#beside = this.#run(beside, 'beside.log');
    this.#main = this.#run(main, 'broker.log');
    await this.#main.until(ready, startMs);
  }

  #run(command: Plan['main'], log: string): Running {
    const running = new Running(command, this.folder, join(this.folder, log));
    void running.ended.then(
      () => this.#watch(),
      () => undefined, // It never ran.
    );
    this.#watch(running);
    return running;
  }

  #watch(fresh?: Running): void {
    const alive = [this.#main, this.#beside, fresh].filter((one) => one !== undefined && !one.hasEnded);
    this.#keeper.watch([...new Set(alive.map((one) => one?.pid ?? 0))]);
  }
}
