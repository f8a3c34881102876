import type { Outcome } from '../../../core/contracts/invocation.ts';
import type { Call } from '../../../core/contracts/provider.ts';
import { ForkCall } from './fork-call.ts';
import { type Runner, type RunnerOwner, tooManyInflight } from './runner.ts';
import type { FunctionSettings } from './settings.ts';

/** A function with a process for each call. Replicas are only what it may run at once: nothing waits between calls. */
export class Forks implements Runner {
  readonly settings: FunctionSettings;
  readonly #owner: RunnerOwner;
  readonly #calls = new Set<ForkCall>();
  #replicas: number;

  constructor(settings: FunctionSettings, owner: RunnerOwner) {
    this.settings = settings;
    this.#owner = owner;
    this.#replicas = settings.replicas;
  }

  get available(): number {
    return this.#replicas;
  }

  start(): void {
    this.#report();
  }

  invoke(call: Call): Promise<Outcome> {
    const { maxInflight } = this.settings;
    if (maxInflight > 0 && this.#calls.size >= maxInflight * Math.max(1, this.#replicas)) {
      return Promise.resolve(tooManyInflight(maxInflight));
    }
    const forked = new ForkCall(call, this.settings, this.#owner);
    this.#calls.add(forked);
    void forked.ended.then(() => this.#calls.delete(forked));
    return forked.outcome;
  }

  scale(replicas: number): void {
    this.#replicas = replicas;
    this.#report();
  }

  async close(): Promise<void> {
    await Promise.all([...this.#calls].map(({ ended }) => ended));
  }

  kill(): void {
    for (const call of this.#calls) call.kill();
  }

  #report(): void {
    const { perReplica } = this.settings;
    const replicas = this.#replicas;
    this.#owner.report({
      state: replicas > 0 ? 'ready' : 'cold',
      replicas,
      availableReplicas: replicas,
      capacity: replicas * perReplica,
    });
  }
}
