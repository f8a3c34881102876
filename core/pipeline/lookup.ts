import type { Delivery } from '../contracts/delivery.ts';
import type { Invocation } from '../contracts/invocation.ts';
import type { FunctionAuth } from '../contracts/policy.ts';
import type { CatalogEntry } from '../functions/catalog.ts';
import type { Refusal } from '../kit/outcome.ts';
import { admit, isCall } from './admit.ts';
import { isFull, waitingRoomFull } from './decide.ts';
import { abortedOutcome, firstOf, notDeployed, refuse, type PipelineServices, type Stage } from './stage.ts';

/**
 * Finds the function in the catalog. A cold one is asked to scale and waited for, for no longer than the call may take,
 * by no more callers than the gateway's waiting room holds; one that the caller may not call is refused, and so is a missing one;
 * work from a queue for that is tried again later, since it may be deployed meanwhile.
 */
export function lookup(services: PipelineServices): Stage {
  const { catalog, clock, meter, waitingRoom } = services;
  return (delivery) => {
    const { invocation } = delivery;
    if (!invocation) return;
    const entry = catalog.get(invocation.function);
    // Millrace's own functions run from queues only: over HTTP they would call wherever the caller says.
    if (!entry || (entry.isOwn && !delivery.request.lease)) {
      return refuse(delivery, 'missing', notDeployed(invocation.function));
    }
    if (!isCall(delivery)) return found(delivery, invocation, entry);
    const auth = entry.policy.auth ?? services.functionAuth;
    if (auth === 'public') return found(delivery, invocation, entry);
    return ifAdmitted(delivery, invocation, entry, auth);
  };

  /** Apart: the context of a closure is made with the call of its function, though few need it. */
  function ifAdmitted(
    delivery: Delivery,
    invocation: Invocation,
    entry: CatalogEntry,
    auth: Exclude<FunctionAuth, 'public'>,
  ): Promise<void> {
    return admit(delivery, entry.name, auth, services).then((isAdmitted) =>
      isAdmitted ? found(delivery, invocation, entry) : undefined,
    );
  }

  function found(delivery: Delivery, invocation: Invocation, entry: CatalogEntry): void | Promise<void> {
    delivery.entry = entry;
    if (entry.status.state === 'ready') return;
    if (entry.status.state === 'failed') return refuse(delivery, 'crash', cannotRun(entry));
    // Queued work need not wait here: it is on its way to the queue, which waits better.
    if (invocation.mode === 'async' && !delivery.request.lease) return;
    if (!delivery.request.lease && isFull(services)) {
      meter.refused(entry.name, 'waiting');
      return refuse(delivery, 'overload', waitingRoomFull(entry.name));
    }
    return untilReady(delivery, entry, invocation.timeoutMs);
  }

  async function untilReady(delivery: Delivery, entry: CatalogEntry, timeoutMs: number): Promise<void> {
    const { name, slots } = entry;
    const since = clock.monotonic();
    const { promise: settled, resolve: settle } = Promise.withResolvers<void>();
    const watching = catalog.changes.subscribe(({ kind, entry: { name: changed, status } }) => {
      if (changed === name && (kind === 'removed' || status.state === 'ready' || status.state === 'failed')) settle();
    });
    if (entry.status.state === 'cold') void services.wake(entry);
    delivery.isLetIn = true;
    slots.hold();
    waitingRoom.now++;
    const end = await firstOf(delivery, settled, timeoutMs);
    watching.unsubscribe();
    slots.unhold();
    waitingRoom.now--;
    const now = catalog.get(name);
    if (end !== 'came' && end !== 'timeout') {
      delivery.outcome = abortedOutcome(end, clock.monotonic() - since);
      return;
    }
    if (!now) return refuse(delivery, 'missing', notDeployed(name));
    delivery.entry = now;
    if (now.status.state === 'ready') return;
    if (now.status.state === 'failed') return refuse(delivery, 'crash', cannotRun(now));
    refuse(delivery, 'overload', {
      code: 'function.not-ready',
      message: `function "${name}" did not become ready within its timeout`,
      retryAfterSeconds: 1,
    });
  }
}

function cannotRun({ name, status }: CatalogEntry): Refusal {
  const reason = status.message ?? 'its provider could not start it';
  return { code: 'function.crashed', message: `function "${name}" cannot run: ${reason}` };
}
