// @ts-check
import { ask, parts, queryOf } from './api.js';
import { attempt, h, labelled, setText } from './dom.js';
import { moment } from './format.js';

/** As many as the gateway keeps. */
const maxLines = 2000;

/** @type {import('./main.js').View} */
export function logsView(main, { query }, signal) {
  const name = h('input', { name: 'function', required: true, value: query.get('function') ?? '' });
  const call = h('input', { name: 'callId', value: query.get('callId') ?? '' });
  const text = h('input', { type: 'search', oninput: filter });
  const status = h('p', { class: 'quiet', role: 'status' });
  const list = h('pre', { role: 'log', tabindex: 0, 'aria-label': 'Lines' });
  const stop = h('button', { type: 'button', disabled: true, onclick: () => following.abort() }, 'Stop');
  let following = new AbortController();
  main.append(
    h(
      'form',
      { onsubmit: submit },
      labelled('Function', name),
      labelled('Call id', call),
      h('button', { class: 'main' }, 'Follow'),
      stop,
      labelled('Text contains', text),
    ),
    status,
    list,
  );
  if (name.value) void attempt(follow);

  /** @param {SubmitEvent} event */
  function submit(event) {
    event.preventDefault();
    void attempt(follow);
  }

  async function follow() {
    following.abort();
    following = new AbortController();
    const mine = AbortSignal.any([signal, following.signal]);
    list.replaceChildren();
    const asked = queryOf({ name: name.value, callId: call.value, tail: maxLines, follow: 'true' });
    const answer = await ask(`/system/logs${asked}`, { accept: 'application/x-ndjson', signal: mine });
    stop.disabled = false;
    setText(status, `Following ${name.value}`);
    try {
      for await (const line of parts(answer, '\n')) if (line !== '') add(JSON.parse(line));
      setText(status, 'The gateway has ended it.');
    } finally {
      if (mine.aborted) setText(status, 'Stopped');
      stop.disabled = true;
    }
  }

  /** @param {{ timestamp: string, instance: string, text: string }} line */
  function add({ timestamp, instance, text }) {
    // Who reads further up is left there.
    const isAtEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - 8;
    const line = h('div', {}, moment(timestamp), ' ', h('span', { class: 'quiet' }, instance), ' ', text);
    line.hidden = !fits(line);
    list.append(line);
    if (list.childElementCount > maxLines) list.firstElementChild?.remove();
    if (isAtEnd) list.scrollTop = list.scrollHeight;
  }

  function filter() {
    for (const line of list.children) /** @type {HTMLElement} */ (line).hidden = !fits(line);
  }

  /** @param {Element} line */
  function fits(line) {
    return line.textContent?.toLowerCase().includes(text.value.toLowerCase()) ?? false;
  }
}
