// @ts-check
/** @import { FunctionRow } from './figures.js' */
import { queryOf } from './api.js';
import { h, labelled, setText } from './dom.js';
import { functions, onFigures, paceOf } from './figures.js';
import { counted, duration, rate, toneOf } from './format.js';
import { Table } from './table.js';

/** @type {import('./main.js').View} */
export function functionsView(main, _place, signal) {
  const filter = h('input', { type: 'search', oninput: show });
  const summary = h('p', { class: 'quiet', role: 'status' });
  const table = new Table(
    'Functions',
    [
      { title: 'Name', text: ({ name }) => name },
      {
        title: 'State',
        text: ({ state, message }) => (message === undefined ? state : `${state}: ${message}`),
        tone: ({ state }) => toneOf(state),
      },
      {
        title: 'Replicas',
        text: ({ availableReplicas, replicas }) => `${counted(availableReplicas)} of ${counted(replicas)}`,
        by: ({ availableReplicas }) => availableReplicas,
        kind: 'number',
      },
      { title: 'Running', text: ({ attempts }) => attempts?.running ?? 0, kind: 'number' },
      figure('Calls/s', ({ perSecond }) => perSecond, rate),
      figure('Mean time', ({ mean }) => mean, duration),
      figure(
        '95 % within',
        ({ p95 }) => p95,
        (seconds) => (seconds === Infinity ? 'more' : duration(seconds)),
      ),
      figure(
        'Errors',
        ({ failedPart }) => failedPart,
        (part) => `${rate(100 * part)} %`,
      ),
      {
        title: 'Calls',
        text: ({ attempts }) => counted(attempts?.ended ?? 0),
        by: ({ attempts }) => attempts?.ended ?? 0,
        kind: 'number',
      },
      { title: 'Provider', text: ({ provider }) => provider },
      { title: 'Go to', node: linksOf },
    ],
    ({ name }) => name,
    'No function is called so.',
  );
  main.append(
    h('div', { class: 'bar' }, labelled('Name contains', filter), summary),
    table.element,
    h(
      'p',
      { class: 'quiet' },
      'Calls a second, times and errors are those of the last ten seconds; errors have a status from 400.',
    ),
  );
  show();
  onFigures(signal, show);

  function show() {
    const text = filter.value.toLowerCase();
    const rows = [...functions.values()].filter(({ name }) => name.includes(text));
    rows.sort((one, other) => (one.name < other.name ? -1 : 1));
    table.show(rows);
    const failed = rows.filter(({ state }) => state === 'failed').length;
    setText(summary, `${counted(rows.length)} functions${failed > 0 ? `, ${counted(failed)} cannot run` : ''}`);
  }
}

/**
 * A column of what happened lately; nothing where nothing did.
 *
 * @param {string} title
 * @param {(pace: import('./figures.js').Pace) => number} valueOf
 * @param {(value: number) => string} format
 * @returns {import('./table.js').Column<FunctionRow>}
 */
function figure(title, valueOf, format) {
  const of = (/** @type {FunctionRow} */ { name }) => {
    const pace = paceOf(name);
    return pace && valueOf(pace);
  };
  return {
    title,
    text: (row) => {
      const value = of(row);
      return value === undefined ? '–' : format(value);
    },
    by: (row) => of(row) ?? -1,
    kind: 'number',
  };
}

/** @param {FunctionRow} row */
function linksOf({ name }) {
  const query = queryOf({ function: name });
  return h(
    'span',
    { class: 'row' },
    ...['invoke', 'invocations', 'logs'].map((view) =>
      h('a', { href: `#/${view}${query}`, 'aria-label': `${view} of ${name}` }, view),
    ),
  );
}
