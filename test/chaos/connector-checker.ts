import type { AckMode } from '../../core/contracts/message.ts';
import type { DeadRecord, Execution } from './checker.ts';

export type Behaviour = 'ok' | 'fail-once' | 'fail-always';

/** A message that the broker has confirmed. */
export interface Confirmed {
  readonly id: string;
  readonly topic: AckMode;
  readonly behaviour: Behaviour;
  /** SHA-256 of the body, hex. */
  readonly body: string;
  /** Of messages with the same key each was confirmed before the next one was sent. */
  readonly key?: string | undefined;
}

/** Everything that was seen of one run: the ledgers. */
export interface MessageHistory {
  readonly confirmed: readonly Confirmed[];
  /** Messages of which their producer does not know: they may run. */
  readonly unknown: ReadonlySet<string>;
  /** `callId` is the message's id. */
  readonly executions: readonly Execution[];
  /** Of all gateways. */
  readonly dead: readonly Pick<DeadRecord, 'body' | 'errors' | 'reason'>[];
  /** Attempts after which a message is a dead letter. */
  readonly attempts: number;
  /** Topics whose messages with the same key are run in their order. */
  readonly ordered: readonly AckMode[];
  /** Messages that may have been under way when something was struck, all in all: so many may be given again. */
  readonly atRisk: number;
  /** What the broker keeps in the end; undefined where it cannot tell. */
  readonly left: number | undefined;
  /** What the metrics cannot account for. */
  readonly drift: number;
  readonly complaints: readonly string[];
}

export interface MessageVerdict {
  /** Confirmed, and neither run to an end nor kept. */
  readonly lost: readonly string[];
  readonly phantoms: readonly string[];
  readonly deadWrong: readonly string[];
  /** Begun before the one before them with their key had come to its end. */
  readonly outOfOrder: readonly string[];
  /** Messages that were given again, as far as their runs tell. */
  readonly duplicates: number;
}

/** Compares the ledgers: confirmed ⊆ executed ∪ dead letters. */
export function checkMessages(history: MessageHistory): MessageVerdict {
  const { confirmed, unknown, executions, dead, attempts } = history;
  const started = new Map<string, number>();
  const ended = new Set<string>();
  for (const { callId, event } of executions) {
    if (event === 'start') started.set(callId, (started.get(callId) ?? 0) + 1);
    else ended.add(callId);
  }
  const letters = Map.groupBy(dead, ({ body }) => body);
  const known = new Set(confirmed.map(({ id }) => id));
  const attemptsOf = attemptsBy(attempts);
  const lost: string[] = [];
  const deadWrong: string[] = [];
  let duplicates = 0;
  for (const { id, topic, behaviour, body } of confirmed) {
    const found = letters.get(body) ?? [];
    if (!ended.has(id) && found.length === 0) lost.push(`${id} (${topic}, ${behaviour})`);
    const expected = attemptsOf[behaviour];
    // Whatever its policy makes of it, one that is given again begins anew.
    duplicates += Math.max(0, Math.ceil((started.get(id) ?? 0) / expected) - 1, found.length - 1);
    if (behaviour !== 'fail-always') {
      // Attempts are counted before the run, so kills alone may use them up; then it is kept whole.
      const uncalled = found.find(({ reason }) => reason !== 'crashed');
      if (uncalled) deadWrong.push(`${id} (${topic}, ${behaviour}) is a dead letter (${uncalled.reason})`);
    } else if (found.length === 0) deadWrong.push(`${id} (${topic}) is no dead letter with the bytes that were sent`);
    else if (found.some(({ errors }) => errors === 0)) deadWrong.push(`${id} (${topic}) has no errors`);
  }
  const phantoms = [...started.keys()].filter((id) => !known.has(id) && !unknown.has(id));
  return { lost, phantoms, deadWrong, outOfOrder: outOfOrder(history), duplicates };
}

/**
 * What is given again runs again, so each message counts by its first attempt; and by the first end of its last one, of
 * which there is none if it is a dead letter because its gateways died.
 */
function outOfOrder({ confirmed, executions, ordered, attempts }: MessageHistory): string[] {
  const attemptsOf = attemptsBy(attempts);
  const startedAt = new Map<string, number>();
  const endedAt = new Map<string, number>();
  const behaviourOf = new Map(confirmed.map(({ id, behaviour }) => [id, behaviour]));
  for (const [at, { callId, attempt, event }] of executions.entries()) {
    const behaviour = behaviourOf.get(callId) ?? 'ok';
    if (event === 'start' && !startedAt.has(callId)) startedAt.set(callId, at);
    if (event === 'end' && attempt >= attemptsOf[behaviour] && !endedAt.has(callId)) endedAt.set(callId, at);
  }
  const found: string[] = [];
  const keyed = confirmed.filter(({ topic, key }) => key !== undefined && ordered.includes(topic));
  for (const [key, messages] of Map.groupBy(keyed, (one) => `${one.topic} ${one.key}`)) {
    for (const [index, { id }] of messages.entries()) {
      const before = messages[index - 1];
      const begun = startedAt.get(id);
      if (!before || begun === undefined) continue;
      const due = endedAt.get(before.id) ?? startedAt.get(before.id) ?? 0;
      if (begun < due) found.push(`${id} (${key}) before ${before.id}`);
    }
  }
  return found;
}

function attemptsBy(attempts: number): Readonly<Record<Behaviour, number>> {
  return { ok: 1, 'fail-once': 2, 'fail-always': attempts };
}

/** Whether the promises held; the text says what did not. */
export function brokenMessages(history: MessageHistory): string[] {
  const { lost, phantoms, deadWrong, outOfOrder: wrongOrder, duplicates } = checkMessages(history);
  const { atRisk, left, drift, complaints } = history;
  const text: string[] = [];
  const tell = (what: string, found: readonly string[]): void => {
    if (found.length > 0) text.push(`${found.length} ${what}: ${found.slice(0, 5).join('; ')}`);
  };
  tell('lost', lost);
  tell('run but never sent', phantoms);
  tell('wrong dead letters', deadWrong);
  tell('out of order', wrongOrder);
  if (duplicates > atRisk) text.push(`${duplicates} given again, more than the ${atRisk} that were under way`);
  if (left !== undefined && left !== 0) text.push(`the broker still keeps ${left}`);
  if (drift !== 0) text.push(`the metrics cannot account for ${drift}`);
  tell('complaints', complaints);
  return text;
}
