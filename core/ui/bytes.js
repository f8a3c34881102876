// @ts-check
import { h } from './dom.js';
import { size } from './format.js';

/** More of a text helps nobody on a screen, and makes it slow. */
const maxShown = 262_144;

/**
 * The text that bytes are, if they are any.
 *
 * @param {Uint8Array} bytes
 */
export function textOf(bytes) {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return text.includes('\0') ? undefined : text;
  } catch {
    return undefined;
  }
}

/**
 * Bytes for people: as text if they are any, and to be saved.
 *
 * @param {string} name of the file
 * @param {Uint8Array<ArrayBuffer>} bytes
 */
export function shownBytes(name, bytes) {
  const text = textOf(bytes);
  const isCut = text !== undefined && text.length > maxShown;
  const note =
    text === undefined ? ', which are no text' : isCut ? `, of which the first ${size(maxShown)} are shown` : '';
  return h(
    'div',
    {},
    h(
      'p',
      { class: 'row' },
      h('span', {}, `${size(bytes.length)}${note}`),
      h('button', { type: 'button', onclick: () => save(name, bytes) }, 'Save'),
    ),
    text === undefined || text === '' ? undefined : h('pre', { tabindex: 0 }, text.slice(0, maxShown)),
  );
}

/**
 * @param {string} name
 * @param {Uint8Array<ArrayBuffer>} bytes
 */
function save(name, bytes) {
  // A type that no browser would show: a stranger made these bytes.
  const url = URL.createObjectURL(new Blob([bytes], { type: 'application/octet-stream' }));
  h('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
