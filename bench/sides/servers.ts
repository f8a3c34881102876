import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type BrokerKind, type OwnBroker, startBroker } from '../../test/support/brokers.ts';

/** The brokers of one benchmark: one for each kind and settings, so that those who are compared work on the same. */
export class Servers implements AsyncDisposable {
  /** On the disk of the sources and not in /tmp, which may be memory. */
  readonly folder = mkdtempSync(join(import.meta.dirname, '../..', '.bench-'));
  readonly #started = new Map<string, Promise<OwnBroker>>();

  async url(kind: BrokerKind, settings: readonly string[] = []): Promise<string> {
    return (await this.broker(kind, settings)).url;
  }

  async broker(kind: BrokerKind, settings: readonly string[] = []): Promise<OwnBroker> {
    const key = [kind, ...settings].join('\n');
    const starting = this.#started.get(key) ?? startBroker(kind, { parent: this.folder, settings });
    this.#started.set(key, starting);
    return starting;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = await Promise.allSettled(this.#started.values());
    for (const each of ended) if (each.status === 'fulfilled') await each.value.dispose();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
