// @ts-check
import { h, labelled, setText } from './dom.js';

/** What every request says of who asks. For this tab only, and no cookie: no other page can make use of it. */
const kept = 'millrace.authorization';

/** @returns {Record<string, string>} */
export function credentials() {
  const authorization = sessionStorage.getItem(kept);
  return authorization === null ? {} : { authorization };
}

export function signOut() {
  sessionStorage.removeItem(kept);
  location.reload();
}

/** @type {Promise<void> | undefined} */
let asking;

/** Asks for credentials until some are right; once for all who wait for them. */
export function signIn() {
  asking ??= askForCredentials().finally(() => (asking = undefined));
  return asking;
}

/** @returns {Promise<void>} */
function askForCredentials() {
  const token = h('input', { type: 'password', name: 'token', autocomplete: 'off' });
  const user = h('input', { name: 'user', autocomplete: 'username' });
  const password = h('input', { type: 'password', name: 'password', autocomplete: 'current-password' });
  const problem = h('p', { class: 'bad', role: 'alert' });
  const { promise, resolve } = Promise.withResolvers();
  const dialog = h(
    'dialog',
    { 'aria-labelledby': 'sign-in-title', oncancel: (/** @type {Event} */ event) => event.preventDefault() },
    h('h2', { id: 'sign-in-title' }, 'Sign in'),
    h(
      'form',
      { onsubmit: submit },
      labelled('Token', token),
      h('p', { class: 'quiet' }, 'or'),
      labelled('User', user),
      labelled('Password', password),
      problem,
      h('button', { class: 'main' }, 'Sign in'),
    ),
    h('p', { class: 'quiet' }, 'They are kept in this tab until it is closed.'),
  );
  document.body.append(dialog);
  dialog.showModal();
  return promise;

  /** @param {SubmitEvent} event */
  async function submit(event) {
    event.preventDefault();
    const text = `${user.value}:${password.value}`;
    const authorization = token.value ? `Bearer ${token.value}` : `Basic ${base64(text)}`;
    setText(problem, '');
    try {
      const { status } = await fetch('/system/info', { headers: { authorization }, credentials: 'omit' });
      if (status === 401) {
        setText(problem, 'The gateway does not know these credentials.');
        return;
      }
    } catch {
      setText(problem, 'The gateway does not answer.');
      return;
    }
    sessionStorage.setItem(kept, authorization);
    dialog.remove();
    resolve(undefined);
  }
}

/** @param {string} text */
function base64(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}
