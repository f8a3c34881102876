/** What one function wrote: a line when an attempt began, another when it ended, in the order in which it happened. */
export interface Execution {
  readonly callId: string;
  readonly function: string;
  readonly attempt: number;
  readonly event: 'start' | 'end';
  /** Which gateway of the fleet ran it, where its function can know. */
  readonly place?: string | undefined;
}

/** An invocation that was answered with 202. */
export interface AcceptedCall {
  readonly callId: string;
  readonly id: string;
  readonly function: string;
  /** SHA-256 of the body, hex. */
  readonly body: string;
  readonly order?: { readonly key: string; readonly number: number } | undefined;
}

/** The end of an invocation, as the gateway tells it. */
export interface Terminal {
  readonly id: string;
  readonly state: string;
}

export interface DeadRecord {
  readonly id: string;
  readonly reason: string;
  readonly body: string;
  readonly attempts: number;
  readonly errors: number;
}

/** Everything that was seen of one run: the ledgers. */
export interface History {
  readonly accepted: readonly AcceptedCall[];
  /** Call ids of requests that got no answer: they may have been accepted. */
  readonly unknown: ReadonlySet<string>;
  readonly executions: readonly Execution[];
  readonly terminals: readonly Terminal[];
  readonly dead: readonly DeadRecord[];
  /** Attempts that each function asks for, by its policy and what it does: 1 for one that succeeds at once. */
  readonly attemptsOf: Readonly<Record<string, number>>;
  /** Functions whose invocations end as dead letters. */
  readonly dying: ReadonlySet<string>;
  readonly kills: number;
  /** Attempts that may have been running at the kills and outages, all in all: so many may be repeated. */
  readonly atRisk: number;
  /** What callers and operators should not have seen: a wrong answer, one that came too late, a death of its own. */
  readonly complaints: readonly string[];
  /** accepted - everything accounted for, as the metrics tell it at rest. */
  readonly drift: number;
}

export interface Verdict {
  readonly lost: readonly string[];
  readonly withoutEnd: readonly string[];
  readonly phantoms: readonly string[];
  readonly outOfOrder: readonly string[];
  readonly deadWrong: readonly string[];
  readonly duplicates: number;
  readonly duplicatesAllowed: number;
  readonly drift: number;
  readonly complaints: readonly string[];
}

const finals = new Set(['succeeded', 'dead', 'cancelled', 'expired']);

/** Compares the ledgers (reliability.md §5.9). Empty lists, drift 0 and duplicates within bounds: every promise held. */
export function check(history: History): Verdict {
  const ran = new Map<string, number>();
  for (const { callId, event } of history.executions)
    if (event === 'start') ran.set(callId, (ran.get(callId) ?? 0) + 1);
  const ends = new Map<string, string[]>();
  for (const { id, state } of history.terminals) ends.set(id, [...(ends.get(id) ?? []), state]);
  const known = new Set(history.accepted.map(({ callId }) => callId));
  // Attempts are counted before the run, so kills alone may use them up; then the message is kept whole, not lost.
  const kept = new Set(history.dead.filter(({ reason }) => reason === 'crashed').map(({ id }) => id));

  const lost: string[] = [];
  const withoutEnd: string[] = [];
  let duplicates = 0;
  for (const { callId, id, function: name } of history.accepted) {
    const states = ends.get(id) ?? [];
    const excused = states.includes('expired') || states.includes('cancelled') || kept.has(id);
    if (!ran.has(callId) && !excused) lost.push(id);
    if (states.length !== 1 || !finals.has(states[0] ?? ''))
      withoutEnd.push(`${id}: ${states.join(', ') || 'nothing'}`);
    duplicates += Math.max(0, (ran.get(callId) ?? 0) - (history.attemptsOf[name] ?? 1));
  }
  return {
    lost,
    withoutEnd,
    phantoms: [...ran.keys()].filter((callId) => !known.has(callId) && !history.unknown.has(callId)),
    outOfOrder: outOfOrder(history),
    deadWrong: deadWrong(history),
    duplicates,
    duplicatesAllowed: history.atRisk,
    complaints: history.complaints,
    drift: history.drift,
  };
}

/** With an order key, the first attempt of one begins after the last sign of the one before. */
function outOfOrder({ accepted, executions }: History): string[] {
  const first = new Map<string, number>();
  const last = new Map<string, number>();
  executions.forEach(({ callId }, position) => {
    if (!first.has(callId)) first.set(callId, position);
    last.set(callId, position);
  });
  const byKey = Map.groupBy(
    accepted.filter(({ order }) => order),
    ({ order }) => order?.key ?? '',
  );
  const wrong: string[] = [];
  for (const [key, calls] of byKey) {
    calls.sort((a, b) => (a.order?.number ?? 0) - (b.order?.number ?? 0));
    calls.forEach((call, index) => {
      const before = calls[index - 1];
      const began = first.get(call.callId);
      const ended = before && last.get(before.callId);
      if (began !== undefined && ended !== undefined && began < ended) {
        wrong.push(`${key}: ${call.order?.number} began before ${before?.order?.number} was over`);
      }
    });
  }
  return wrong;
}

/** Just those whose function cannot succeed are dead letters: once each, whole, with their attempts' errors. */
function deadWrong({ accepted, dead, dying }: History): string[] {
  const letters = Map.groupBy(dead, ({ id }) => id);
  const wrong: string[] = [];
  for (const { id, function: name, body } of accepted) {
    const found = letters.get(id) ?? [];
    if (!dying.has(name)) {
      if (found.length > 0) wrong.push(`${id} of ${name} is a dead letter (${found[0]?.reason})`);
      continue;
    }
    const [letter] = found;
    if (!letter || found.length > 1) wrong.push(`${id} of ${name} is ${found.length} dead letters`);
    else if (letter.body !== body) wrong.push(`${id} of ${name} has another body than was accepted`);
    else if (letter.errors < 1) wrong.push(`${id} of ${name} has no errors`);
  }
  return wrong;
}

/** Whether the promises held; the text says what did not. */
export function broken(verdict: Verdict): string[] {
  const text: string[] = [];
  const tell = (what: string, found: readonly string[]): void => {
    if (found.length > 0) text.push(`${found.length} ${what}: ${found.slice(0, 5).join('; ')}`);
  };
  tell('lost', verdict.lost);
  tell('without exactly one end', verdict.withoutEnd);
  tell('run but never accepted', verdict.phantoms);
  tell('out of order', verdict.outOfOrder);
  tell('wrong dead letters', verdict.deadWrong);
  if (verdict.duplicates > verdict.duplicatesAllowed) {
    text.push(
      `${verdict.duplicates} duplicates, more than the ${verdict.duplicatesAllowed} that were in flight at the kills`,
    );
  }
  tell('complaints', verdict.complaints);
  if (verdict.drift !== 0) text.push(`the metrics cannot account for ${verdict.drift}`);
  return text;
}
