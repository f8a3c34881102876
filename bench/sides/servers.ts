import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type BrokerKind, type OwnBroker, startBroker } from '../../test/support/brokers.ts';
import { Postgres } from './postgres.ts';

/** The brokers of one benchmark: one for each kind and settings, so that those who are compared work on the same. */
export class Servers implements AsyncDisposable {
  /** On the disk of the sources and not in /tmp, which may be memory. */
  readonly folder = mkdtempSync(join(import.meta.dirname, '../..', '.bench-'));
  readonly #started = new Map<string, Promise<OwnBroker>>();
  #postgres: Promise<Postgres> | undefined;

  async url(kind: BrokerKind, settings: readonly string[] = []): Promise<string> {
    return (await this.broker(kind, settings)).url;
  }

  async broker(kind: BrokerKind, settings: readonly string[] = []): Promise<OwnBroker> {
    const key = [kind, ...settings].join('\n');
    const starting = this.#started.get(key) ?? startBroker(kind, { parent: this.folder, settings });
    this.#started.set(key, starting);
    return starting;
  }

  async postgres(): Promise<string> {
    this.#postgres ??= Postgres.start(this.folder);
    return (await this.#postgres).url;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = await Promise.allSettled([...this.#started.values(), this.#postgres]);
    for (const each of ended) if (each.status === 'fulfilled') await each.value?.[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
