import { z } from 'zod';
import type { Clock } from '../../../core/contracts/clock.ts';
import { defineStore } from '../../../core/contracts/definition.ts';
import { MillraceError } from '../../../core/contracts/errors.ts';
import type { PutOptions, Store, StoreRecord } from '../../../core/contracts/store.ts';

export default defineStore({
  kind: 'memory',
  summary: 'In this process only; forgotten when it ends. For tests and for trying things out.',
  config: z.strictObject({}),
  examples: [{}],
  create: (_config, host) => new MemoryStore(host.clock),
});

interface Entry extends StoreRecord {
  /** Wall clock, ms. */
  readonly expiresAt: number;
}

/** Writes between two searches for what has expired. */
const sweepEvery = 1000;

/** A Map. Versions are never used twice, so that a writer who missed a deletion cannot take a new record for its own. */
export class MemoryStore implements Store {
  readonly #entries = new Map<string, Entry>();
  readonly #clock: Clock;
  #version = 0;
  #open = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async start(): Promise<void> {
    this.#open = true;
  }

  async get(key: string): Promise<StoreRecord | undefined> {
    const entry = this.#live(key);
    return entry && { value: entry.value, version: entry.version };
  }

  async put(key: string, value: string, options: PutOptions = {}): Promise<number | undefined> {
    if (!key.isWellFormed() || !value.isWellFormed()) throw malformed();
    const present = this.#live(key)?.version ?? 0;
    if (options.ifVersion !== undefined && options.ifVersion !== present) return undefined;
    const version = ++this.#version;
    const expiresAt = options.ttlMs === undefined ? Infinity : this.#clock.now() + options.ttlMs;
    this.#entries.set(key, { value, version, expiresAt });
    if (version % sweepEvery === 0) this.#sweep();
    return version;
  }

  async delete(key: string): Promise<boolean> {
    return this.#live(key) !== undefined && this.#entries.delete(key);
  }

  async list(prefix: string, limit: number, after?: string): Promise<string[]> {
    this.#check();
    this.#sweep();
    const from = after === undefined ? undefined : Buffer.from(after);
    return [...this.#entries.keys()]
      .filter((key) => key.startsWith(prefix))
      .map((key) => Buffer.from(key))
      .filter((key) => from === undefined || Buffer.compare(key, from) > 0)
      .sort((one, other) => Buffer.compare(one, other)) // By bytes, as databases order text.
      .slice(0, limit)
      .map((key) => key.toString());
  }

  async stop(_deadlineMs: number): Promise<void> {
    this.#open = false;
    this.#entries.clear();
  }

  #live(key: string): Entry | undefined {
    this.#check();
    const entry = this.#entries.get(key);
    if (!entry || entry.expiresAt > this.#clock.now()) return entry;
    this.#entries.delete(key);
    return undefined;
  }

  #sweep(): void {
    const now = this.#clock.now();
    for (const [key, entry] of this.#entries) if (entry.expiresAt <= now) this.#entries.delete(key);
  }

  #check(): void {
    if (!this.#open) throw new MillraceError('store.unavailable', 'the store is not open');
  }
}

function malformed(): MillraceError {
  return new MillraceError('request.invalid', 'keys and values of a store are well-formed Unicode text');
}
