// @ts-check
import { askJson } from './api.js';
import { h } from './dom.js';
import { toneOf } from './format.js';
import { Table } from './table.js';

/** @typedef {{ file: string, line: number, column: number, path: string, message: string, severity: string, code?: string }} Finding */

/** @type {import('./main.js').View} */
export async function configurationView(main, _place, signal) {
  const { configuration, findings } = await askJson('/system/configuration', { signal });
  const table = new Table(
    'What the lint says',
    [
      { title: 'Place', text: (/** @type {Finding} */ { file, line, column }) => `${file}:${line}:${column}` },
      { title: 'Key', text: ({ path }) => path },
      { title: 'Severity', text: ({ severity }) => severity, tone: ({ severity }) => toneOf(severity) },
      { title: 'Finding', text: ({ message }) => message, kind: 'long' },
      { title: 'Rule', text: ({ code }) => code ?? '' },
    ],
    ({ file, line, column, code }) => JSON.stringify([file, line, column, code]),
    'Nothing: there is no warning.',
  );
  table.show(findings);
  main.append(
    h('h2', {}, 'What the lint says'),
    table.element,
    h('h2', {}, 'What is in force'),
    h('p', { class: 'quiet' }, 'Defaults included, secrets left out. Times are in ms.'),
    ...Object.entries(configuration).map(([key, part]) => section(key, part)),
  );
}

/**
 * Written out when it is opened: thousands of functions are a long text.
 *
 * @param {string} key
 * @param {unknown} part
 */
function section(key, part) {
  const place = h('div');
  const count = typeof part === 'object' && part !== null ? Object.keys(part).length : undefined;
  return h(
    'details',
    {
      ontoggle: () => {
        if (place.childElementCount === 0) place.append(h('pre', { tabindex: 0 }, JSON.stringify(part, undefined, 2)));
      },
    },
    h('summary', {}, count === undefined ? key : `${key} (${count})`),
    place,
  );
}
