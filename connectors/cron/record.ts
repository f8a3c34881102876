import { z } from 'zod';
import type { Store } from '../../core/contracts/store.ts';

/** What is remembered of a schedule, in the store's record `cron/NAME`. Times are instants of the wall clock, ms. */
export interface CronRecord {
  /** Every slot up to it has been dealt with. At first, when the schedule was seen for the first time. */
  readonly lastSlot: number;
  readonly lastInvocationId: string | undefined;
  /** The schedule and its zone: slots of another one are not to be made up for. */
  readonly schedule: string;
}

const stored = z.object({
  lastSlot: z.iso.datetime(),
  lastInvocationId: z.string().optional(),
  schedule: z.string(),
});

/** The record of one connector, shared by all replicas: it only ever moves on to later slots. */
export class CronRecords {
  readonly #store: Store;
  readonly #key: string;
  readonly #schedule: string;

  constructor(store: Store, name: string, schedule: string) {
    this.#store = store;
    this.#key = `cron/${name}`;
    this.#schedule = schedule;
  }

  /** Undefined when there is none, or it is of another schedule, or is not ours to read. */
  async read(): Promise<CronRecord | undefined> {
    const record = await this.#store.get(this.#key);
    const parsed = record && parse(record.value);
    return parsed?.schedule === this.#schedule ? parsed : undefined;
  }

  /** Writes unless another replica has got further; returns what the record then says. */
  async advance(lastSlot: number, lastInvocationId: string | undefined): Promise<CronRecord> {
    for (;;) {
      const present = await this.#store.get(this.#key);
      const known = present && parse(present.value);
      if (known?.schedule === this.#schedule && known.lastSlot >= lastSlot) return known;
      const next: CronRecord = { lastSlot, lastInvocationId, schedule: this.#schedule };
      const value = JSON.stringify({ ...next, lastSlot: new Date(lastSlot).toISOString() });
      if ((await this.#store.put(this.#key, value, { ifVersion: present?.version ?? 0 })) !== undefined) return next;
    }
  }
}

function parse(value: string): CronRecord | undefined {
  let json: unknown;
  try {
    json = JSON.parse(value);
  } catch {
    return undefined; // Somebody else's record; the next write replaces it.
  }
  const parsed = stored.safeParse(json);
  if (!parsed.success) return undefined;
  const { lastSlot, lastInvocationId, schedule } = parsed.data;
  return { lastSlot: Date.parse(lastSlot), lastInvocationId, schedule };
}
