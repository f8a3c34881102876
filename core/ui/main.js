// @ts-check
import { h, messageOf, setText } from './dom.js';
import { followFigures } from './figures.js';
import { credentials, signOut } from './session.js';
import { configurationView } from './configuration.js';
import { connectorsView } from './connectors.js';
import { deadLettersView } from './dead-letters.js';
import { functionsView } from './functions.js';
import { invocationsView } from './invocations.js';
import { invokeView } from './invoke.js';
import { logsView } from './logs.js';
import { queuesView } from './queues.js';

/**
 * A view builds itself in `main`, and ends with the signal. `id`: the thing that it is about; `query`: what its form says.
 *
 * @typedef {(main: HTMLElement, place: { id: string | undefined, query: URLSearchParams }, signal: AbortSignal) => void | Promise<void>} View
 */

/** @type {Readonly<Record<string, { title: string, view: View }>>} */
const views = {
  functions: { title: 'Functions', view: functionsView },
  queues: { title: 'Queues', view: queuesView },
  connectors: { title: 'Connectors', view: connectorsView },
  invocations: { title: 'Invocations', view: invocationsView },
  'dead-letters': { title: 'Dead letters', view: deadLettersView },
  invoke: { title: 'Invoke', view: invokeView },
  logs: { title: 'Logs', view: logsView },
  configuration: { title: 'Configuration', view: configurationView },
};

const main = /** @type {HTMLElement} */ (document.querySelector('#main'));
const live = /** @type {HTMLElement} */ (document.querySelector('#live'));
const leave = /** @type {HTMLElement} */ (document.querySelector('#sign-out'));
const links = Object.entries(views).map(([name, { title }]) => ({ name, link: h('a', { href: `#/${name}` }, title) }));
document.querySelector('#views')?.append(...links.map(({ link }) => h('li', {}, link)));
leave.addEventListener('click', signOut);

let left = new AbortController();

/** Shows what the address says. */
async function show() {
  const [path = '', query = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const [name = '', id] = path.split('/').map(decodeURIComponent);
  const found = views[name];
  if (!found) {
    location.replace('#/functions');
    return;
  }
  left.abort();
  left = new AbortController();
  const { signal } = left;
  for (const { name: other, link } of links) {
    if (other === name) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  document.title = `${found.title} – Millrace`;
  const heading = h('h1', { tabindex: -1 }, found.title);
  main.replaceChildren(heading);
  heading.focus({ preventScroll: true });
  scrollTo(0, 0);
  try {
    await found.view(main, { id, query: new URLSearchParams(query) }, signal);
  } catch (error) {
    if (!signal.aborted) main.append(h('p', { class: 'bad', role: 'alert' }, messageOf(error)));
  }
}

// The link to the content is no view.
document.querySelector('.skip')?.addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener('hashchange', () => void show());
void show();
void followFigures((words, isLive) => {
  setText(live, words);
  live.className = isLive ? 'good' : 'bad';
  leave.hidden = Object.keys(credentials()).length === 0;
});
