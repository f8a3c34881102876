import { filter, firstValueFrom, race, take, timer } from 'rxjs';
import type { Delivery } from '../contracts/delivery.ts';
import type { Invocation } from '../contracts/invocation.ts';
import { type CatalogEntry, systemNamespace } from '../functions/catalog.ts';
import { admit, isCall } from './admit.ts';
import { notDeployed, refuse, type PipelineServices, type Stage } from './stage.ts';

/**
 * Finds the function in the catalog. A cold one is asked to scale and waited for, for no longer than the call may take;
 * one that the caller may not call is refused, and so is
 * a missing one; work from a queue for it is tried again later, since it may be deployed meanwhile.
 */
export function lookup(services: PipelineServices): Stage {
  const { catalog } = services;
  return (delivery) => {
    const { invocation } = delivery;
    if (!invocation) return;
    const entry = catalog.get(invocation.function);
    // Millrace's own functions run from queues only: over HTTP they would call wherever the caller says.
    if (!entry || (!delivery.request.lease && entry.name.endsWith(`.${systemNamespace}`))) {
      return refuse(delivery, 'missing', notDeployed(invocation.function));
    }
    const auth = entry.auth ?? services.functionAuth;
    if (auth === 'public' || !isCall(delivery)) return found(delivery, invocation, entry);
    return admit(delivery, entry.name, auth, services).then((isAdmitted) =>
      isAdmitted ? found(delivery, invocation, entry) : undefined,
    );
  };

  function found(delivery: Delivery, invocation: Invocation, entry: CatalogEntry): void | Promise<void> {
    delivery.entry = entry;
    if (entry.status.state === 'ready') return;
    if (entry.status.state === 'failed') {
      const reason = entry.status.message ?? 'its provider could not start it';
      return refuse(delivery, 'crash', {
        code: 'function.crashed',
        message: `function "${entry.name}" cannot run: ${reason}`,
      });
    }
    // Queued work need not wait here: it is on its way to the queue, which waits better.
    if (invocation.mode === 'async' && !delivery.request.lease) return;
    return untilReady(delivery, entry.name, invocation.timeoutMs);
  }

  async function untilReady(delivery: Delivery, name: string, timeoutMs: number): Promise<void> {
    const ready = firstValueFrom(
      race(
        catalog.changes.pipe(
          filter(({ entry }) => entry.name === name && entry.status.state === 'ready'),
          take(1),
        ),
        timer(timeoutMs),
      ),
      { defaultValue: 0 },
    );
    const entry = catalog.get(name);
    if (entry?.status.state === 'cold') await entry.provider.scale?.(name, 1);
    await ready;
    const now = catalog.get(name);
    if (now?.status.state === 'ready') {
      delivery.entry = now;
      return;
    }
    refuse(delivery, 'overload', {
      code: 'function.not-ready',
      message: `function "${name}" did not become ready within its timeout`,
      retryAfterSeconds: 1,
    });
  }
}
