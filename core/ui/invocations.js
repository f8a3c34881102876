// @ts-check
import { ask, askJson, queryOf } from './api.js';
import { shownBytes } from './bytes.js';
import { anyOf, attempt, definitions, h, labelled, notify, select, setText } from './dom.js';
import { onFigures } from './figures.js';
import { duration, moment, size, toneOf } from './format.js';
import { credentials } from './session.js';
import { PagedList } from './paged-list.js';
import { Table } from './table.js';
import { timelineOf } from './timeline.js';

/**
 * @typedef {{ attempt: number, at: string, code: string, message: string, status?: number }} AttemptError
 * @typedef {{ id: string, callId: string, function: string, state: string, attempt: number, acceptedAt: string,
 *   startedAt: string | null, finishedAt: string | null, nextAttemptAt?: string, result: { status: number, bytes: number } | null,
 *   error: AttemptError | null, errors?: AttemptError[], reason?: string, replayOf?: string }} Invocation
 */

const states = ['queued', 'delayed', 'running', 'failed', 'succeeded', 'dead', 'cancelled', 'expired'];
const finalStates = new Set(['succeeded', 'dead', 'cancelled', 'expired']);

/** @type {import('./main.js').View} */
export function invocationsView(main, { id, query }, signal) {
  return id === undefined ? list(main, query, signal) : one(main, id, signal);
}

/**
 * @param {HTMLElement} main
 * @param {URLSearchParams} query
 * @param {AbortSignal} signal
 */
async function list(main, query, signal) {
  const id = h('input', { name: 'id' });
  const name = h('input', { name: 'function', value: query.get('function') ?? '' });
  const state = select('state', anyOf(states), query.get('state') ?? '');
  const table = new Table(
    'Invocations',
    [
      {
        title: 'Id',
        node: (/** @type {Invocation} */ { id }) => h('a', { href: `#/invocations/${id}` }, id),
        by: ({ id }) => id,
      },
      { title: 'Function', text: (row) => row.function },
      { title: 'State', text: (row) => row.state, tone: (row) => toneOf(row.state) },
      { title: 'Attempt', text: ({ attempt }) => attempt, kind: 'number' },
      { title: 'Status', text: ({ result, error }) => result?.status ?? error?.status ?? '–', kind: 'number' },
      { title: 'Accepted', node: ({ acceptedAt }) => moment(acceptedAt), by: ({ acceptedAt }) => acceptedAt },
      {
        title: 'Took',
        text: (row) => (row.finishedAt ? duration(secondsBetween(row.acceptedAt, row.finishedAt)) : '–'),
        kind: 'number',
      },
    ],
    ({ id }) => id,
    'None was found.',
  );
  const found = new PagedList(
    '/system/invocations',
    () => ({ function: name.value.trim(), state: state.value }),
    table,
    signal,
  );
  main.append(
    h(
      'form',
      { onsubmit: search },
      labelled('Id', id),
      labelled('Function', name),
      labelled('State', state),
      h('button', { class: 'main' }, 'Search'),
    ),
    h(
      'p',
      { class: 'quiet' },
      'Queued invocations that this gateway has seen lately; by id, every one that a queue still keeps.',
    ),
    found.element,
  );
  await found.newest();

  /** @param {SubmitEvent} event */
  function search(event) {
    event.preventDefault();
    if (id.value.trim() !== '') {
      location.hash = `#/invocations/${encodeURIComponent(id.value.trim())}`;
      return;
    }
    void attempt(() => found.newest());
  }
}

/**
 * @param {HTMLElement} main
 * @param {string} id
 * @param {AbortSignal} signal
 */
async function one(main, id, signal) {
  const path = `/invocations/${encodeURIComponent(id)}`;
  const state = h('strong', { role: 'status' });
  const facts = h('div');
  const timeline = h('div');
  const result = h('div');
  const cancel = h('button', { type: 'button', class: 'danger', onclick: () => attempt(cancelled) }, 'Cancel');
  let shown = '';
  main.append(
    h('p', {}, h('a', { href: '#/invocations' }, 'All invocations')),
    h('p', { class: 'row' }, h('span', {}, 'State: ', state), cancel),
    facts,
    h('h2', {}, 'Timeline'),
    timeline,
    h('h2', {}, 'Result'),
    result,
  );
  await show();
  onFigures(signal, (hasNews) => {
    if (hasNews && !finalStates.has(state.textContent ?? '')) void attempt(show);
  });

  async function show() {
    /** @type {Invocation} */
    const record = await askJson(path, { signal });
    const text = JSON.stringify(record);
    if (text === shown) return;
    shown = text;
    setText(state, record.state);
    state.className = toneOf(record.state);
    cancel.hidden = finalStates.has(record.state);
    facts.replaceChildren(factsOf(record));
    timeline.replaceChildren(timelineOf(record));
    result.replaceChildren(await resultOf(record));
  }

  async function cancelled() {
    await ask(path, { method: 'DELETE', signal });
    notify('It is cancelled, or being cancelled.');
    await show();
  }

  /** @param {Invocation} record */
  async function resultOf({ state, result }) {
    if (!result) return h('p', { class: 'quiet' }, finalStates.has(state) ? 'None is kept.' : 'There is none yet.');
    const answer = await fetchResult();
    const bytes = new Uint8Array(await answer.arrayBuffer());
    return h(
      'div',
      {},
      h('p', {}, `Status ${result.status}, ${size(result.bytes)}`),
      shownBytes(`${id}.bin`, bytes),
      h('details', {}, h('summary', {}, 'Headers'), definitions(Object.fromEntries(answer.headers))),
    );
  }

  /** An answer of the function's own may be an error. */
  function fetchResult() {
    return fetch(`${path}/result`, { headers: credentials(), credentials: 'omit', redirect: 'manual', signal });
  }
}

/** @param {Invocation} record */
function factsOf(record) {
  const { replayOf } = record;
  return definitions({
    Id: record.id,
    'Call id': record.callId,
    Function: h(
      'a',
      { href: `#/logs${queryOf({ function: record.function, callId: record.callId })}` },
      `${record.function} (its log)`,
    ),
    Attempt: record.attempt,
    'Ended because': record.reason,
    'Dead letter':
      record.state === 'dead' ? h('a', { href: `#/dead-letters/${record.id}` }, 'read, edit, replay') : undefined,
    'Replay of': replayOf === undefined ? undefined : h('a', { href: `#/invocations/${replayOf}` }, replayOf),
  });
}

/**
 * @param {string} from
 * @param {string} to
 */
function secondsBetween(from, to) {
  return (Date.parse(to) - Date.parse(from)) / 1000;
}
