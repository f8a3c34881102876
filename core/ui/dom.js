// @ts-check

/** @typedef {Node | string | number | undefined} Child */

/**
 * An element with its attributes and children. What begins with `on` is listened to; `true` is an attribute without a
 * value, and `false` or `undefined` is none. Text goes in as text: what functions, messages and logs say is never HTML.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Readonly<Record<string, string | number | boolean | undefined | ((event: any) => unknown)>>} [attributes]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== undefined && value !== false) element.setAttribute(name, String(value));
  }
  element.append(
    ...children.filter((child) => child !== undefined).map((child) => (child instanceof Node ? child : String(child))),
  );
  return element;
}

/**
 * Sets a text if it is another one: screen readers and selections are not disturbed by what has not changed.
 *
 * @param {Node} node
 * @param {string | number} text
 */
export function setText(node, text) {
  if (node.textContent !== String(text)) node.textContent = String(text);
}

/**
 * A labelled field of a form.
 *
 * @param {string} label
 * @param {HTMLElement} field
 * @param {string} [kind] a class of the label
 */
export function labelled(label, field, kind) {
  return kind === 'check'
    ? h('label', { class: kind }, field, label)
    : h('label', kind === undefined ? {} : { class: kind }, label, field);
}

/**
 * A choice of words.
 *
 * @param {string} name
 * @param {readonly (readonly [value: string, text: string])[]} options
 * @param {string} [chosen]
 */
export function select(name, options, chosen = '') {
  return h(
    'select',
    { name },
    ...options.map(([value, text]) => h('option', { value, selected: value === chosen }, text)),
  );
}

/**
 * The options of a filter: one of the words, or none.
 *
 * @param {readonly string[]} words
 * @returns {(readonly [value: string, text: string])[]}
 */
export function anyOf(words) {
  return [['', 'any'], ...words.map((word) => /** @type {const} */ ([word, word]))];
}

/**
 * Terms and what they stand for; those without anything are left out.
 *
 * @param {Readonly<Record<string, Child>>} entries
 */
export function definitions(entries) {
  const list = h('dl');
  for (const [term, text] of Object.entries(entries)) {
    if (text !== undefined) list.append(h('dt', {}, term), h('dd', {}, text));
  }
  return list;
}

/**
 * Tells in passing what was done, also to screen readers.
 *
 * @param {string} text
 */
export function notify(text) {
  const place = document.querySelector('#notice');
  if (!place) return;
  place.textContent = text;
  setTimeout(() => {
    if (place.textContent === text) place.textContent = '';
  }, 6000);
}

/**
 * Does something for which a button was pressed, and tells what goes wrong.
 *
 * @param {() => unknown} work
 */
export async function attempt(work) {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof DOMException && error.name === 'AbortError')) notify(messageOf(error));
  }
}

/** @param {unknown} error */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
