// @ts-check
import { h } from './dom.js';

/**
 * Asks before something that cannot be undone.
 *
 * @param {string} title
 * @param {string} text
 * @param {string} action what the button says
 * @returns {Promise<boolean>}
 */
export function confirmed(title, text, action) {
  const { promise, resolve } = Promise.withResolvers();
  const end = (/** @type {boolean} */ answer) => {
    dialog.remove();
    resolve(answer);
  };
  const dialog = h(
    'dialog',
    { 'aria-labelledby': 'confirm-title', oncancel: () => end(false) },
    h('h2', { id: 'confirm-title' }, title),
    h('p', {}, text),
    h(
      'div',
      { class: 'bar' },
      h('button', { type: 'button', autofocus: true, onclick: () => end(false) }, 'Cancel'),
      h('button', { type: 'button', class: 'danger', onclick: () => end(true) }, action),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  return promise;
}
