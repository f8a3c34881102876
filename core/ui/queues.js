// @ts-check
/** @import { QueueRow } from './figures.js' */
import { ask } from './api.js';
import { Chart } from './chart.js';
import { attempt, h, notify, setText } from './dom.js';
import { history, keyOf, onFigures, queues } from './figures.js';
import { counted, duration } from './format.js';
import { Table } from './table.js';

const levels = /** @type {const} */ ([
  [
    'gateway',
    'In the gateway',
    'Calls that wait for a slot of their function while their callers wait for the answer.',
  ],
  ['function', 'In the queues of functions', 'Invocations that were accepted, and run when there is a slot.'],
  ['provider', 'In providers', 'What waits for a thread, a process or a change of the cluster.'],
]);

/** @type {import('./main.js').View} */
export function queuesView(main, _place, signal) {
  for (const [level, title, text] of levels) main.append(levelOf(level, title, text, signal));
}

/**
 * @param {QueueRow['level']} level
 * @param {string} title
 * @param {string} text
 * @param {AbortSignal} signal
 */
function levelOf(level, title, text, signal) {
  const charts = {
    depth: new Chart('Waiting', counted),
    age: new Chart('Oldest', duration),
    inFlight: new Chart('In flight', counted),
  };
  /** Whose history is shown: the whole level's, or one row's. @type {string} */
  let chosen = level;
  const charted = h('p', { class: 'quiet', role: 'status' });
  const table = new Table(title, columnsOf(level, choose), keyOf, 'Nothing is here.');
  show();
  onFigures(signal, show);
  return h(
    'div',
    {},
    h('h2', {}, title),
    h('p', { class: 'quiet' }, text),
    charted,
    h('div', { class: 'charts' }, ...Object.values(charts).map(({ element }) => element)),
    table.element,
  );

  /** @param {string} key */
  function choose(key) {
    chosen = chosen === key ? level : key;
    show();
  }

  function show() {
    const rows = [...queues.values()].filter((row) => row.level === level);
    // Not by what waits: rows would jump away from under the pointer.
    rows.sort((one, other) => (one.name < other.name ? -1 : 1));
    table.show(rows);
    if (chosen !== level && !queues.has(chosen)) chosen = level;
    for (const button of table.element.querySelectorAll('button[data-key]')) {
      button.setAttribute('aria-pressed', String(button.getAttribute('data-key') === chosen));
    }
    setText(charted, `The last five minutes of ${chosen === level ? 'all of them' : queues.get(chosen)?.name}`);
    const points = history.of(chosen);
    for (const [name, chart] of Object.entries(charts)) {
      chart.show(points.map((point) => ({ at: point.at, value: point[/** @type {keyof typeof charts} */ (name)] })));
    }
  }
}

/**
 * @param {QueueRow['level']} level
 * @param {(key: string) => void} choose
 * @returns {import('./table.js').Column<QueueRow>[]}
 */
function columnsOf(level, choose) {
  const number = (
    /** @type {string} */ title,
    /** @type {'ready' | 'blocked' | 'delayed' | 'leased' | 'dead'} */ key,
  ) => ({
    title,
    text: (/** @type {QueueRow} */ row) => counted(row[key]),
    by: (/** @type {QueueRow} */ row) => row[key],
    kind: 'number',
  });
  const isLane = level === 'function';
  return [
    { title: level === 'provider' ? 'Pool' : 'Function', text: ({ name }) => name },
    ...(level === 'gateway' ? [] : [{ title: isLane ? 'Queue' : 'Provider', text: ownerOf }]),
    number('Ready', 'ready'),
    ...(isLane ? [number('Behind their key', 'blocked'), number('Delayed', 'delayed')] : []),
    number('In flight', 'leased'),
    {
      title: 'Oldest',
      text: (row) => (row.oldestAgeSeconds > 0 ? duration(row.oldestAgeSeconds) : '–'),
      by: (row) => row.oldestAgeSeconds,
      kind: 'number',
    },
    ...(isLane ? [number('Dead letters', 'dead'), ...laneColumns] : []),
    { title: 'Actions', node: (row) => actionsOf(row, choose) },
  ];
}

/** @type {import('./table.js').Column<QueueRow>[]} */
const laneColumns = [
  { title: 'State', text: ({ paused }) => (paused ? 'paused' : 'open'), tone: ({ paused }) => (paused ? 'warn' : '') },
  { title: 'Durability', text: ({ durability }) => durability },
];

/** @param {QueueRow} row */
function ownerOf({ queue, provider }) {
  return queue ?? provider ?? '';
}

/**
 * @param {QueueRow} row
 * @param {(key: string) => void} choose
 */
function actionsOf(row, choose) {
  const key = keyOf(row);
  const { level, name } = row;
  const chart = h(
    'button',
    {
      type: 'button',
      'data-key': key,
      'aria-pressed': 'false',
      'aria-label': `Chart ${name}`,
      onclick: () => choose(key),
    },
    'Chart',
  );
  if (level !== 'function') return chart;
  const act = (/** @type {'pause' | 'resume'} */ action) => () =>
    attempt(async () => {
      await ask(`/system/queues/${encodeURIComponent(name)}/${action}`, { method: 'POST' });
      notify(`${name} is ${action === 'pause' ? 'paused: what comes in is still accepted' : 'open again'}.`);
    });
  return h(
    'span',
    { class: 'row' },
    chart,
    h('button', { type: 'button', 'aria-label': `Pause ${name}`, onclick: act('pause') }, 'Pause'),
    h('button', { type: 'button', 'aria-label': `Resume ${name}`, onclick: act('resume') }, 'Resume'),
  );
}
