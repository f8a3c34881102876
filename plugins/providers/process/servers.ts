import type { Outcome } from '../../../core/contracts/invocation.ts';
import type { Call } from '../../../core/contracts/provider.ts';
import { failed } from '../../../core/kit/outcome.ts';
import { Attempt } from '../../../core/kit/upstream/attempt.ts';
import type { Upstream, Upstreams } from '../../../core/kit/upstream/upstreams.ts';
import { Replica, type ReplicaOwner } from './replica.ts';
import { type Runner, type RunnerOwner, tooManyInflight } from './runner.ts';
import type { FunctionSettings } from './settings.ts';

const firstRetryMs = 200;
const lastRetryMs = 30_000;
/** A server that was ready for so long had started well: its successor need not wait long, ms. */
const steadyMs = 10_000;

/** A function with servers that keep running. A call goes to the one with the fewest; one that ends is replaced. */
export class Servers implements Runner, Upstreams {
  readonly headers = {};
  readonly retryAfterSeconds = 1;
  readonly settings: FunctionSettings;
  readonly #owner: ReplicaOwner;
  readonly #replicas = new Set<Replica>();
  /** Those that only finish what they began. */
  readonly #retired = new Set<Replica>();
  #wanted: number;
  #after: Promise<void> | undefined;
  /** Why the last one could not start. */
  #failure: string | undefined;
  #retryMs = firstRetryMs;
  #retryTimer: NodeJS.Timeout | undefined;
  #isClosed = false;
  readonly #empty = Promise.withResolvers<void>();

  constructor(settings: FunctionSettings, owner: RunnerOwner) {
    this.settings = settings;
    this.#wanted = settings.replicas;
    this.#owner = {
      ...owner,
      ready: () => this.#ready(),
      gone: (replica) => this.#gone(replica),
    };
  }

  get available(): number {
    let ready = 0;
    for (const { state } of this.#replicas) if (state === 'ready') ready++;
    return ready;
  }

  start(after?: Promise<void>): void {
    this.#after = after;
    this.#fill();
    this.#report();
  }

  invoke(call: Call): Promise<Outcome> {
    const replica = this.#leastBusy();
    const { maxInflight } = this.settings;
    if (!replica) {
      const message = this.#failure ?? 'no replica of it is running now';
      return Promise.resolve(failed('connection', { code: 'function.unreachable', message, retryAfterSeconds: 1 }, 0));
    }
    if (maxInflight > 0 && replica.inFlight >= maxInflight) return Promise.resolve(tooManyInflight(maxInflight));
    return new Promise((settle) => {
      new Attempt(call, this, this.#owner.clock, settle).begin();
    });
  }

  take(tried?: readonly Upstream[]): Replica | undefined {
    const replica = this.#leastBusy(tried);
    if (!replica) return undefined;
    replica.inFlight++;
    // It is the last one's turn now, among those with as few calls.
    this.#replicas.delete(replica);
    this.#replicas.add(replica);
    return replica;
  }

  giveBack(replica: Replica): void {
    replica.giveBack();
  }

  scale(replicas: number): void {
    this.#wanted = replicas;
    if (replicas === 0) this.#failure = undefined;
    const surplus = [...this.#replicas].sort(byUse).slice(0, Math.max(0, this.#replicas.size - replicas));
    for (const replica of surplus) this.#retire(replica);
    this.#fill();
    this.#report();
  }

  close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#retryTimer);
    for (const replica of this.#replicas) this.#retire(replica);
    this.#tellIfEmpty();
    return this.#empty.promise;
  }

  kill(): void {
    for (const replica of [...this.#replicas, ...this.#retired]) replica.kill();
  }

  #leastBusy(tried?: readonly Upstream[]): Replica | undefined {
    let least: Replica | undefined;
    for (const replica of this.#replicas) {
      if (replica.state !== 'ready' || tried?.includes(replica)) continue;
      if (!least || replica.inFlight < least.inFlight) least = replica;
    }
    return least;
  }

  #fill(): void {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    while (!this.#isClosed && this.#replicas.size < this.#wanted) {
      const replica = new Replica(this.settings, this.#owner);
      this.#replicas.add(replica);
      void replica.run(this.#after);
    }
  }

  #retire(replica: Replica): void {
    this.#replicas.delete(replica);
    this.#retired.add(replica);
    replica.retire();
  }

  #ready(): void {
    this.#failure = undefined;
    this.#report();
  }

  #gone(replica: Replica): void {
    const wasExpected = this.#retired.delete(replica);
    this.#replicas.delete(replica);
    this.#tellIfEmpty();
    if (wasExpected || this.#isClosed) return;
    const { reason } = replica;
    this.#owner.logger.warn({ function: this.settings.name, reason }, 'a server of a function has ended by itself');
    const livedMs = replica.readySince === 0 ? 0 : this.#owner.clock.monotonic() - replica.readySince;
    if (livedMs >= steadyMs) this.#retryMs = firstRetryMs;
    if (livedMs === 0) this.#failure = `its server did not start: ${reason}`;
    // Not at once: one that ends by itself would keep a core busy with being started.
    this.#retryTimer ??= setTimeout(() => this.#fill(), this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, lastRetryMs);
    this.#report();
  }

  #tellIfEmpty(): void {
    if (this.#isClosed && this.#replicas.size + this.#retired.size === 0) this.#empty.resolve();
  }

  #report(): void {
    if (this.#isClosed) return;
    const { available } = this;
    const state =
      this.#wanted === 0 ? 'cold' : available > 0 ? 'ready' : this.#failure === undefined ? 'scaling' : 'failed';
    this.#owner.report({
      state,
      replicas: this.#wanted,
      availableReplicas: available,
      capacity: available * this.settings.perReplica,
      message: this.#failure,
    });
  }
}

/** Those first that are missed least. */
function byUse(a: Replica, b: Replica): number {
  return Number(a.state === 'ready') - Number(b.state === 'ready') || a.inFlight - b.inFlight;
}
