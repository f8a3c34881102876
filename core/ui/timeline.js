// @ts-check
/** @import { Invocation } from './invocations.js' */
import { h } from './dom.js';
import { moment, toneOf } from './format.js';

/**
 * What happened to an invocation, in the order in which it did, and what is to happen.
 *
 * @param {Pick<Invocation, 'state' | 'attempt' | 'acceptedAt' | 'startedAt' | 'finishedAt' | 'nextAttemptAt' | 'errors'>} record
 */
export function timelineOf({ state, attempt, acceptedAt, startedAt, finishedAt, nextAttemptAt, errors = [] }) {
  /** @type {{ at: string, text: string, tone?: string }[]} */
  const steps = [{ at: acceptedAt, text: 'accepted' }];
  for (const { attempt: number, at, code, message, status } of errors) {
    const words = [`attempt ${number} failed: ${message}`, code, status === undefined ? '' : `status ${status}`];
    steps.push({ at, text: words.filter(Boolean).join(', '), tone: 'bad' });
  }
  // Of earlier ones only their ends are kept.
  if (startedAt !== null) steps.push({ at: startedAt, text: `attempt ${attempt} begun` });
  if (finishedAt !== null) steps.push({ at: finishedAt, text: state, tone: toneOf(state) });
  if (nextAttemptAt !== undefined) steps.push({ at: nextAttemptAt, text: 'to be tried again', tone: 'warn' });
  steps.sort((one, other) => Date.parse(one.at) - Date.parse(other.at));
  return h(
    'ol',
    { class: 'timeline' },
    ...steps.map(({ at, text, tone }) => h('li', { class: tone }, moment(at), text)),
  );
}
