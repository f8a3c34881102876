// @ts-check
import { attempt, definitions, h, labelled, messageOf, select, setText } from './dom.js';
import { duration } from './format.js';
import { headersOf } from './header-text.js';
import { credentials } from './session.js';

/** What is shown of an answer, bytes: a browser gets slow with more. */
const maxShown = 1_048_576;

/** @type {import('./main.js').View} */
export function invokeView(main, { query }, signal) {
  const name = h('input', { name: 'function', required: true, value: query.get('function') ?? '' });
  const method = select(
    'method',
    ['POST', 'GET', 'PUT', 'PATCH', 'DELETE'].map((each) => [each, each]),
  );
  const path = h('input', { name: 'path', placeholder: '/path?query' });
  const mode = select('mode', [
    ['function', 'Synchronously: wait for the answer'],
    ['async-function', 'Asynchronously: through the queue'],
  ]);
  const headers = h('textarea', { name: 'headers', placeholder: 'Name: value', spellcheck: 'false' });
  const body = h('textarea', { name: 'body', spellcheck: 'false' });
  const withCredentials = h('input', { type: 'checkbox', name: 'credentials' });
  const stop = h('button', { type: 'button', disabled: true, onclick: () => calling.abort() }, 'Stop');
  const status = h('p', { role: 'status' });
  const answered = h('div');
  let calling = new AbortController();
  main.append(
    h(
      'form',
      { onsubmit: submit },
      labelled('Function', name),
      labelled('How', mode),
      labelled('Method', method),
      labelled('Path and query', path),
      labelled('Headers, one a line', headers, 'wide'),
      labelled('Body', body, 'wide'),
      labelled('Show the function my credentials, because it asks for a token', withCredentials, 'check'),
      h('button', { class: 'main' }, 'Invoke'),
      stop,
    ),
    h('h2', {}, 'Answer'),
    status,
    answered,
  );
  signal.addEventListener('abort', () => calling.abort());

  /** @param {SubmitEvent} event */
  function submit(event) {
    event.preventDefault();
    void attempt(call);
  }

  async function call() {
    calling.abort();
    calling = new AbortController();
    const mine = calling.signal;
    const sent = headersOf(headers.value);
    answered.replaceChildren();
    setText(status, 'Waiting for the answer…');
    stop.disabled = false;
    const startedAt = performance.now();
    const took = () => duration((performance.now() - startedAt) / 1000);
    try {
      const hasBody = method.value !== 'GET' && body.value !== '';
      const answer = await fetch(`/${mode.value}/${encodeURIComponent(name.value)}${pathOf(path.value.trim())}`, {
        method: method.value,
        headers: { ...(withCredentials.checked && credentials()), ...sent },
        credentials: 'omit',
        redirect: 'manual',
        signal: mine,
        ...(hasBody && { body: body.value }),
      });
      setText(status, `Status ${answer.status} after ${took()}; the answer is coming`);
      await show(answer);
      setText(status, `Status ${answer.status}, whole after ${took()}`);
    } catch (error) {
      setText(status, mine.aborted ? `Stopped after ${took()}` : `No answer: ${messageOf(error)}`);
    } finally {
      if (mine === calling.signal) stop.disabled = true;
    }
  }

  /** @param {Response} answer */
  async function show(answer) {
    const id = answer.headers.get('x-invocation-id');
    const output = h('pre', { tabindex: 0, 'aria-label': 'Body of the answer' });
    answered.append(
      ...(answer.status === 202 && id ? [h('p', {}, 'Accepted: ', h('a', { href: `#/invocations/${id}` }, id))] : []),
      output,
      h('details', {}, h('summary', {}, 'Headers'), definitions(Object.fromEntries(answer.headers))),
    );
    let length = 0;
    for await (const text of answer.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      if (length < maxShown) output.append(text.slice(0, maxShown - length));
      length += text.length;
    }
    if (length > maxShown) answered.append(h('p', { class: 'warn' }, 'Only the beginning is shown.'));
  }
}

/**
 * What follows the name: a path and a query, or either.
 *
 * @param {string} text
 */
function pathOf(text) {
  return text === '' || /^[/?]/.test(text) ? text : `/${text}`;
}
