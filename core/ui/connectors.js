// @ts-check
import { askJson } from './api.js';
import { attempt, h } from './dom.js';
import { connectors, onFigures } from './figures.js';
import { counted, toneOf } from './format.js';
import { Table } from './table.js';

/** @typedef {{ name: string, kind: string, state: string, reconnects: number, lastError?: string }} Connection */

/** @type {import('./main.js').View} */
export function connectorsView(main, _place, signal) {
  const table = new Table(
    'Connectors',
    [
      { title: 'Name', text: ({ name }) => name },
      { title: 'Kind', text: ({ kind }) => kind },
      { title: 'State', text: ({ state }) => state, tone: ({ state }) => toneOf(state) },
      {
        title: 'Lag',
        text: ({ lag }) => (lag === undefined ? '–' : counted(lag)),
        by: ({ lag }) => lag ?? -1,
        kind: 'number',
      },
      {
        title: 'In flight',
        text: ({ inFlight, credit }) => `${counted(inFlight)} of ${counted(credit)}`,
        by: ({ inFlight }) => inFlight,
        kind: 'number',
      },
      { title: 'Settled', text: ({ settled }) => counted(settled), by: ({ settled }) => settled, kind: 'number' },
      {
        title: 'Reconnects',
        text: ({ reconnects }) => counted(reconnects),
        by: ({ reconnects }) => reconnects,
        kind: 'number',
      },
      { title: 'Last error', text: ({ lastError }) => lastError ?? '', tone: () => 'bad', kind: 'long' },
    ],
    ({ name }) => name,
    'No connector is running, or they are not for you to see.',
  );
  const brokers = new Table(
    'Connections to brokers',
    [
      { title: 'Name', text: (/** @type {Connection} */ { name }) => name },
      { title: 'Kind', text: ({ kind }) => kind },
      { title: 'State', text: ({ state }) => state, tone: ({ state }) => toneOf(state) },
      { title: 'Reconnects', text: ({ reconnects }) => counted(reconnects), kind: 'number' },
      { title: 'Last error', text: ({ lastError }) => lastError ?? '', tone: () => 'bad', kind: 'long' },
    ],
    ({ name }) => name,
    'There are no connections to brokers.',
  );
  main.append(table.element, h('h2', {}, 'Connections'), brokers.element);
  show();
  onFigures(signal, show);

  function show() {
    table.show([...connectors.values()]);
    void attempt(async () => brokers.show(await askJson('/system/connections', { signal })));
  }
}
