import type { Invocation, Outcome } from '../contracts/invocation.ts';
import type { NewMessage } from '../contracts/queue.ts';
import { bytesOf, isStream, jsonOf } from '../kit/body.ts';
import { failed } from '../kit/outcome.ts';
import { createId } from './ids.ts';

/** Failed items by their ids, with what the answer says of each (`message`), or nothing. */
export type FailedItems = ReadonlyMap<string, string>;

interface Named {
  readonly itemIdentifier?: unknown;
  readonly message?: unknown;
}

const nothing: FailedItems = new Map();
const dayMs = 86_400_000;

/**
 * The items that an answer names as failed, as of AWS Lambda; none where it says nothing of the kind, and all where it
 * names one that it was not given: what it meant by that cannot be known.
 */
export function failedItems({ body }: Outcome, given: readonly string[]): FailedItems {
  if (isStream(body)) return nothing;
  const answer = jsonOf(bytesOf(body)) as { readonly batchItemFailures?: unknown } | null | undefined;
  if (!Array.isArray(answer?.batchItemFailures)) return nothing;
  const named = answer.batchItemFailures.map((each: Named | null) => {
    const { itemIdentifier, message } = each ?? {};
    return [String(itemIdentifier), typeof message === 'string' ? message.slice(0, 500) : ''] as const;
  });
  const known = new Set(given);
  const stranger = named.find(([id]) => !known.has(id));
  if (!stranger) return new Map(named);
  const text = `the answer names ${JSON.stringify(stranger[0].slice(0, 100))}, which was not in the batch`;
  return new Map(given.map((id) => [id, text]));
}

/** What a good answer comes to that names all there is as failed: the function's own failure. */
export function failedByItems({ durationMs }: Outcome, failures: FailedItems): Outcome {
  const words = [...failures].map(([id, said]) => {
    if (failures.size === 1 && said !== '') return said;
    return said === '' ? `the answer names ${id} as failed` : `${id}: ${said}`;
  });
  const message = words.join('; ').slice(0, 1000);
  return failed(undefined, { code: 'function.failed', message }, durationMs);
}

/**
 * The failed items of a queued batch, each to be run alone from now on; undefined where they cannot be told apart from the
 * others, since its body was replaced, or must not be, since what comes after them of their order key would overtake them.
 */
export function itemsAlone(
  invocation: Invocation,
  message: NewMessage,
  failures: FailedItems,
  nowMs: number,
): readonly NewMessage[] | undefined {
  const { items = [] } = invocation;
  const content = jsonOf(message.body);
  if (message.orderKey !== undefined || !Array.isArray(content) || content.length !== items.length) return undefined;
  const headers = { ...message.envelope.headers, 'x-batch-size': '1' };
  return items.flatMap((id, at) => {
    if (!failures.has(id)) return [];
    const alone = {
      ...message,
      id: createId(nowMs),
      envelope: { ...message.envelope, headers, items: [id] },
      body: Buffer.from(JSON.stringify([content[at]])),
      // A settlement that is said again must not bring them twice.
      dedupKey: `item:${invocation.id}:${at}`,
      dedupWindowMs: dayMs,
      delayMs: undefined,
    };
    return [alone];
  });
}
