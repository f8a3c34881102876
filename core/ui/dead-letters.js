// @ts-check
/** @import { AttemptError } from './invocations.js' */
import { ask, parts, queryOf } from './api.js';
import { deadLetterView } from './dead-letter.js';
import { confirmed } from './dialog.js';
import { anyOf, attempt, h, labelled, notify, select, setText } from './dom.js';
import { counted, moment } from './format.js';
import { PagedList } from './paged-list.js';
import { Table } from './table.js';

/**
 * @typedef {{ id: string, function: string, queue: string, reason: string, attempt: number, diedAt: string, acceptedAt: string,
 *   callId: string, method: string, path: string, query: string, headers: Record<string, string | string[]>, source: string,
 *   bodyBytes: number, errors: AttemptError[], callbackUrl?: string, replayOf?: string }} DeadLetter
 */

const reasons = ['max_attempts', 'permanent', 'crashed', 'expired', 'unroutable', 'loop', 'unreadable'];

/** @type {import('./main.js').View} */
export function deadLettersView(main, { id, query }, signal) {
  return id === undefined ? list(main, query, signal) : deadLetterView(main, id, signal);
}

/**
 * @param {HTMLElement} main
 * @param {URLSearchParams} query
 * @param {AbortSignal} signal
 */
async function list(main, query, signal) {
  const name = h('input', { name: 'function', value: query.get('function') ?? '' });
  const reason = select('reason', anyOf(reasons));
  const table = new Table(
    'Dead letters',
    [
      {
        title: 'Id',
        node: (/** @type {DeadLetter} */ { id }) => h('a', { href: `#/dead-letters/${id}` }, id),
        by: ({ id }) => id,
      },
      { title: 'Function', text: (row) => row.function },
      { title: 'Reason', text: ({ reason }) => reason },
      { title: 'Attempts', text: ({ attempt }) => attempt, kind: 'number' },
      { title: 'Died', node: ({ diedAt }) => moment(diedAt), by: ({ diedAt }) => diedAt },
      { title: 'Last error', text: ({ errors }) => errors.at(-1)?.message.slice(0, 300) ?? '', kind: 'long' },
    ],
    ({ id }) => id,
    'There are none.',
  );
  const found = new PagedList('/system/dead-letters', filter, table, signal);
  const bulk = bulkOf(filter, () => found.newest(), signal);
  main.append(
    h(
      'form',
      { onsubmit: search },
      labelled('Function', name),
      labelled('Reason', reason),
      h('button', { class: 'main' }, 'Filter'),
    ),
    bulk,
    found.element,
  );
  await found.newest();

  function filter() {
    return { function: name.value.trim(), reason: reason.value };
  }

  /** @param {SubmitEvent} event */
  function search(event) {
    event.preventDefault();
    void attempt(() => found.newest());
  }
}

/**
 * What is done with all that the form says.
 *
 * @param {() => { function: string, reason: string }} filter
 * @param {() => Promise<void>} changed
 * @param {AbortSignal} signal
 */
function bulkOf(filter, changed, signal) {
  const bar = h('progress', { 'aria-label': 'Replayed' });
  const words = h('span', { role: 'status' });
  const stop = h('button', { type: 'button', onclick: () => replaying.abort() }, 'Stop');
  const progress = h('div', { hidden: true }, bar, h('p', { class: 'row' }, words, stop));
  let replaying = new AbortController();
  return h(
    'div',
    {},
    h(
      'div',
      { class: 'bar' },
      h('button', { type: 'button', onclick: () => attempt(replay) }, 'Replay all of these'),
      h('button', { type: 'button', class: 'danger', onclick: () => attempt(purge) }, 'Purge all of these'),
    ),
    progress,
  );

  async function replay() {
    const which = filter();
    const isSure = await confirmed(
      'Replay them?',
      `Each dead letter ${wordsOf(which)} becomes a new invocation, the oldest first.`,
      'Replay',
    );
    if (!isSure) return;
    replaying.abort();
    replaying = new AbortController();
    const mine = AbortSignal.any([signal, replaying.signal]);
    progress.hidden = false;
    stop.hidden = false;
    bar.removeAttribute('value');
    setText(words, 'Looking for them…');
    const json = { ...given(which), ...(isAll(which) && { all: true }) };
    try {
      const accept = 'application/x-ndjson';
      const answer = await ask('/system/dead-letters/replay', { method: 'POST', json, accept, signal: mine });
      for await (const line of parts(answer, '\n')) if (line !== '') tell(JSON.parse(line));
    } catch (error) {
      if (!mine.aborted) throw error;
      setText(words, `Stopped: ${words.textContent}`);
    } finally {
      stop.hidden = true;
      if (!signal.aborted) await changed();
    }
  }

  /** @param {{ done: boolean, total: number, replayed: number, failures?: number, failed?: unknown[], left?: number }} step */
  function tell({ done, total, replayed, failures = 0, failed, left = 0 }) {
    const wrong = failed?.length ?? failures;
    bar.max = Math.max(1, total);
    bar.value = total === 0 ? 1 : replayed + wrong;
    const parts = [`${counted(replayed)} of ${counted(total)} replayed`];
    if (wrong > 0) parts.push(`${counted(wrong)} could not be`);
    if (done && left > 0) parts.push(`${counted(left)} are left for another run`);
    setText(words, parts.join(', '));
  }

  async function purge() {
    const which = filter();
    const text = `Each dead letter ${wordsOf(which)} is deleted, with its body, for ever.`;
    if (!(await confirmed('Purge them?', text, 'Purge'))) return;
    const query = queryOf({ ...which, all: isAll(which) ? 'true' : undefined });
    const { purged } = await (await ask(`/system/dead-letters${query}`, { method: 'DELETE', signal })).json();
    notify(`${counted(purged)} purged.`);
    await changed();
  }
}

/** @param {{ function: string, reason: string }} which */
function isAll(which) {
  return which.function === '' && which.reason === '';
}

/** @param {{ function: string, reason: string }} which */
function given(which) {
  return Object.fromEntries(Object.entries(which).filter(([, value]) => value !== ''));
}

/** @param {{ function: string, reason: string }} which */
function wordsOf(which) {
  if (isAll(which)) return 'of every function';
  const of = which.function === '' ? 'of every function' : `of ${which.function}`;
  return which.reason === '' ? of : `${of} with the reason ${which.reason}`;
}
