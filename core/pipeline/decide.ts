import type { Delivery } from '../contracts/delivery.ts';
import { messageOf, MillraceError } from '../contracts/errors.ts';
import type { Body, Invocation } from '../contracts/invocation.ts';
import type { FunctionPolicy } from '../contracts/policy.ts';
import type { EnqueueResult, NewMessage, Queue } from '../contracts/queue.ts';
import type { CatalogEntry } from '../functions/catalog.ts';
import { readAll } from '../kit/body.ts';
import { failpoint } from '../delivery/failpoint.ts';
import { type Hold, HeldBodies } from '../delivery/held-bodies.ts';
import type { Refusal } from '../kit/outcome.ts';
import { abortedOutcome, firstOf, notDeployed, refuse, type PipelineServices, type Stage } from './stage.ts';

/** Callbacks carry this to the queue's lane of the function that sends them. */
const emptyBody = new Uint8Array(0);

/**
 * Chooses: run now, wait for a slot, enqueue durably, or refuse. Every limit of the gateway is applied here, and
 * nothing is accepted that could not be kept.
 */
export function decide(services: PipelineServices): Stage {
  const { catalog, limits, meter, waitingRoom } = services;
  const bodies = new HeldBodies();

  return (delivery) => {
    const { invocation } = delivery;
    if (delivery.outcome || !invocation) return;
    const entry = catalog.get(invocation.function);
    if (!entry) {
      return refuse(delivery, 'missing', notDeployed(invocation.function));
    }
    const { lease } = delivery.request;
    if (invocation.mode === 'async' && !lease) return enqueue(delivery, invocation, entry.policy);
    if (!lease && invocation.attempt > entry.policy.retry.attempts) {
      // Whatever ran it before ended with it: it must not come round for ever.
      const message = `it was begun ${invocation.attempt - 1} times, and no attempt came to an end`;
      return refuse(delivery, 'crash', { code: 'function.crashed', message });
    }
    if (lease && services.stopping()) {
      delivery.abort('stopping');
      delivery.outcome = abortedOutcome('stopping', 0);
      return;
    }
    if (entry.slots.tryAcquire()) {
      run(delivery, entry);
      return;
    }
    if (!lease && !delivery.isLetIn && (entry.slots.waiting >= entry.policy.waiting || isFull(services))) {
      meter.refused(entry.name, 'waiting');
      return refuse(delivery, 'overload', waitingRoomFull(entry.name));
    }
    return waitForSlot(delivery, invocation, entry);
  };

  function run(delivery: Delivery, entry: CatalogEntry): void {
    delivery.decision = 'run';
    delivery.slots = entry.slots;
    const { invocation } = delivery;
    if (delivery.request.lease && invocation?.attempt === 1) {
      meter.queued(entry.name, services.clock.now() - invocation.acceptedAt);
    }
  }

  /** A caller waits no longer than its call may take; queued work waits as long as its lease is kept. */
  async function waitForSlot(delivery: Delivery, invocation: Invocation, entry: CatalogEntry): Promise<void> {
    waitingRoom.now++;
    const since = services.clock.monotonic();
    const wait = entry.slots.wait(invocation.priority);
    const timeoutMs = delivery.request.lease ? undefined : invocation.timeoutMs;
    const end = await firstOf(delivery, wait.granted, timeoutMs);
    waitingRoom.now--;
    const waitedMs = services.clock.monotonic() - since;
    if (end === 'came') {
      // While it waited the function may have been deployed anew, at another provider.
      delivery.entry = catalog.get(entry.name) ?? delivery.entry;
      run(delivery, entry);
      meter.waited(entry.name, waitedMs);
      return;
    }
    wait.leave();
    if (end === 'timeout') {
      const message = `no slot of function "${entry.name}" became free within ${invocation.timeoutMs} ms`;
      refuse(delivery, 'overload', { code: 'limit.waiting', message, retryAfterSeconds: 1 });
    } else {
      delivery.outcome = abortedOutcome(end, waitedMs);
    }
  }

  async function enqueue(delivery: Delivery, invocation: Invocation, policy: FunctionPolicy): Promise<void> {
    const hold = bodies.hold();
    try {
      if (invocation.callbackUrl !== undefined) await services.checkCallback(invocation.callbackUrl);
      const queue = services.queues.get(policy.queue);
      if (!queue) throw unavailable(policy.queue);
      const reading = readBody(invocation.body, limits.asyncBody, hold);
      const body = reading instanceof Promise ? await reading : reading;
      if (delivery.aborted !== undefined) {
        delivery.outcome = abortedOutcome(delivery.aborted, 0);
        return;
      }
      const message = messageOfInvocation(invocation, delivery, policy, body, limits.dedupWindowMs);
      const [result] = await queue.enqueue([message]);
      taken(delivery, queue, message, result);
    } catch (error) {
      if (delivery.aborted !== undefined) {
        delivery.outcome = abortedOutcome(delivery.aborted, 0);
        return;
      }
      if (error instanceof MillraceError) return refuse(delivery, 'refused', error);
      services.logger.error({ err: error, queue: policy.queue }, 'enqueue failed');
      refuse(delivery, 'refused', unavailable(policy.queue, error));
    } finally {
      hold.release();
    }
  }

  function taken(delivery: Delivery, queue: Queue, message: NewMessage, result: EnqueueResult | undefined): void {
    failpoint('accept.after-enqueue');
    if (!result || result.status === 'full') {
      meter.refused(message.lane, 'queue');
      const text = `the queue of function "${message.lane}" is full; nothing was dropped`;
      return refuse(delivery, 'refused', { code: 'queue.full', message: text, retryAfterSeconds: 5 });
    }
    delivery.decision = 'enqueued';
    delivery.accepted = {
      id: result.id,
      callId: message.envelope.callId,
      duplicate: result.status === 'duplicate',
      durability: queue.durability,
    };
  }
}

/** Whether no more callers may wait, whatever for. */
export function isFull({ limits, waitingRoom }: Pick<PipelineServices, 'limits' | 'waitingRoom'>): boolean {
  return waitingRoom.now >= limits.waiting;
}

export function waitingRoomFull(name: string): Refusal {
  const message = `function "${name}" is busy and its waiting room is full`;
  return { code: 'limit.waiting', message, retryAfterSeconds: 1 };
}

export function unavailable(queue: string, cause?: unknown): MillraceError {
  const reason = cause === undefined ? 'it is not running, see /readyz' : messageOf(cause);
  return new MillraceError('queue.unavailable', `queue "${queue}": ${reason}`, { cause, retryAfterSeconds: 5 });
}

/** What a queue is given of an invocation. */
export function messageOfInvocation(
  invocation: Invocation,
  { options }: Pick<Delivery, 'options'>,
  policy: Pick<FunctionPolicy, 'timeoutMs' | 'retry' | 'maxAgeMs' | 'result'>,
  body: Uint8Array,
  dedupWindowMs: number,
): NewMessage {
  const dedupKey = options?.dedupKey;
  return {
    id: invocation.id,
    lane: invocation.function,
    envelope: {
      callId: invocation.callId,
      method: invocation.method,
      path: invocation.path,
      query: invocation.query,
      headers: invocation.headers,
      source: invocation.source,
      depth: invocation.depth,
      acceptedAt: invocation.acceptedAt,
      // Only a limit of the caller's own is kept: the function's may be mended while this waits.
      timeoutMs: invocation.timeoutMs < policy.timeoutMs ? invocation.timeoutMs : undefined,
      callbackUrl: invocation.callbackUrl,
      replyTo: invocation.replyTo,
      items: invocation.items,
    },
    body,
    priority: invocation.priority,
    maxAttempts: policy.retry.attempts,
    orderKey: options?.orderKey,
    dedupKey,
    dedupWindowMs: dedupKey === undefined ? undefined : (options?.dedupWindowMs ?? dedupWindowMs),
    delayMs: options?.delayMs,
    maxAgeMs: options?.maxAgeMs ?? policy.maxAgeMs,
    resultTtlMs: policy.result.store ? policy.result.ttlMs : 0,
  };
}

/** The whole body in memory, at once where it is there already. Refused as soon as it is larger than `maxBytes`. */
export function readBody(body: Body, maxBytes: number, hold?: Hold): Uint8Array | Promise<Uint8Array> {
  if (body === null) return emptyBody;
  if (body instanceof Uint8Array) {
    const refusal = body.byteLength > maxBytes ? tooLarge(maxBytes) : hold?.add(body.byteLength);
    if (refusal) throw refusal;
    return body;
  }
  return readAll(body, maxBytes, () => tooLarge(maxBytes), hold && ((bytes) => hold.add(bytes)));
}

function tooLarge(maxBytes: number): MillraceError {
  return new MillraceError('limit.body', `the body is larger than ${maxBytes} bytes`);
}
