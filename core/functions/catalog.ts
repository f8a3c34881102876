import { Subject, type Observable } from '../kit/rxjs.ts';
import type { Clock } from '../contracts/clock.ts';
import type { FunctionPolicy } from '../contracts/policy.ts';
import type { LaneStats, Queue } from '../contracts/queue.ts';
import {
  type FunctionEntry,
  type FunctionSpec,
  type FunctionStatus,
  isOwnFunction,
  type Provider,
} from '../contracts/provider.ts';
import { qualified } from '../kit/names.ts';
import { FunctionSlots } from '../delivery/slots.ts';

export interface CatalogChange {
  readonly kind: 'added' | 'changed' | 'removed';
  readonly entry: CatalogEntry;
}

/** What the pipeline needs of one function, beside what it is. */
export interface CatalogEntry extends FunctionEntry {
  readonly slots: FunctionSlots;
  /** One of Millrace's own. To look at the name with each call costs as much as to find it. */
  readonly isOwn: boolean;
}

/**
 * The functions that exist: a Map that providers push into, so that finding one costs one look-up and no I/O. Every
 * change is told to `changes`.
 */
export class Catalog {
  readonly namespace: string;
  readonly changes: Observable<CatalogChange>;
  readonly #clock: Clock;
  readonly #entries = new Map<string, CatalogEntry>();
  /** Short names of the default namespace too. */
  readonly #byAnyName = new Map<string, CatalogEntry>();
  readonly #changes = new Subject<CatalogChange>();
  /** What providers said about functions before they were added. */
  readonly #early = new Map<string, FunctionStatus>();

  constructor(namespace: string, clock: Clock) {
    this.namespace = namespace;
    this.#clock = clock;
    this.changes = this.#changes.asObservable();
  }

  /** `name` → `name.namespace`; what has a namespace stays. The last dot separates. */
  qualify(name: string): string {
    return this.#byAnyName.get(name)?.name ?? qualified(name, this.namespace);
  }

  get(name: string): CatalogEntry | undefined {
    return this.#byAnyName.get(name);
  }

  list(): readonly CatalogEntry[] {
    return [...this.#entries.values()];
  }

  add(spec: FunctionSpec, policy: FunctionPolicy, provider: Provider): CatalogEntry {
    const before = this.#entries.get(spec.name);
    const status = this.#early.get(spec.name) ?? before?.status ?? unknownStatus(spec.name);
    this.#early.delete(spec.name);
    const slots = before?.slots ?? new FunctionSlots(1, this.#clock);
    const { name, provider: providerName } = spec;
    return this.#put(
      { name, provider, providerName, spec, policy, status, slots, isOwn: isOwnFunction(name) },
      before ? 'changed' : 'added',
    );
  }

  report(status: FunctionStatus): void {
    const entry = this.#entries.get(status.name);
    if (entry) this.#put({ ...entry, status }, 'changed');
    else this.#early.set(status.name, status);
  }

  remove(name: string): void {
    const entry = this.#entries.get(name);
    this.#early.delete(name);
    if (!entry) return;
    this.#entries.delete(name);
    this.#byAnyName.delete(name);
    this.#byAnyName.delete(this.#shortName(name));
    this.#changes.next({ kind: 'removed', entry });
  }

  #put(entry: CatalogEntry, kind: CatalogChange['kind']): CatalogEntry {
    const { policy, status } = entry;
    entry.slots.resize(slotsOf(policy, status));
    this.#entries.set(entry.name, entry);
    this.#byAnyName.set(entry.name, entry);
    if (this.#shortName(entry.name) !== entry.name) this.#byAnyName.set(this.#shortName(entry.name), entry);
    this.#changes.next({ kind, entry });
    return entry;
  }

  #shortName(name: string): string {
    const suffix = `.${this.namespace}`;
    return name.endsWith(suffix) ? name.slice(0, -suffix.length) : name;
  }
}

/** One without a replica that takes calls is given as much as its first one will take. */
function slotsOf({ concurrency, perReplica }: FunctionPolicy, { availableReplicas, capacity }: FunctionStatus): number {
  const most = perReplica === undefined ? concurrency : perReplica * Math.max(1, availableReplicas);
  return Math.min(concurrency, most, capacity > 0 ? capacity : Infinity);
}

function unknownStatus(name: string): FunctionStatus {
  return { name, state: 'cold', replicas: 0, availableReplicas: 0, capacity: 0 };
}

/** What is in a queue: its own lanes, and those of functions that will have one when they are first called, in which nothing is. */
export async function lanesOf(
  queueName: string,
  queue: Pick<Queue, 'lanes'>,
  catalog: { list(): readonly FunctionEntry[] },
): Promise<LaneStats[]> {
  const lanes = await queue.lanes();
  const known = new Set(lanes.map(({ lane }) => lane));
  for (const { name, policy } of catalog.list())
    if (policy.queue === queueName && !known.has(name)) lanes.push({ lane: name, ...nothing });
  return lanes;
}

const nothing: Omit<LaneStats, 'lane'> = {
  ready: 0,
  blocked: 0,
  delayed: 0,
  leased: 0,
  dead: 0,
  bytes: 0,
  oldestReadyAgeMs: 0,
  paused: false,
  totals: { accepted: 0, succeeded: 0, dead: 0, expired: 0, cancelled: 0, retried: 0, stale: 0 },
};
