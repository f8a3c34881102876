// @ts-check
/** @import { DeadLetter } from './dead-letters.js' */
import { ask, askJson } from './api.js';
import { shownBytes, textOf } from './bytes.js';
import { confirmed } from './dialog.js';
import { attempt, definitions, h, labelled, notify } from './dom.js';
import { moment, size } from './format.js';
import { headersOf } from './header-text.js';
import { timelineOf } from './timeline.js';

/** A longer body is replayed as it is. */
const maxEdited = 1_048_576;

/**
 * One dead letter: its body, what went wrong each time, and how it is replayed.
 *
 * @param {HTMLElement} main
 * @param {string} id
 * @param {AbortSignal} signal
 */
export async function deadLetterView(main, id, signal) {
  const path = `/system/dead-letters/${encodeURIComponent(id)}`;
  /** @type {DeadLetter} */
  const letter = await askJson(path, { signal });
  const answer = await ask(`${path}/body`, { accept: 'application/octet-stream', signal });
  const bytes = new Uint8Array(await answer.arrayBuffer());
  main.append(
    h('p', {}, h('a', { href: '#/dead-letters' }, 'All dead letters')),
    factsOf(letter),
    h('h2', {}, 'What went wrong'),
    timelineOf({ ...letter, state: `dead: ${letter.reason}`, startedAt: null, finishedAt: letter.diedAt }),
    h('h2', {}, 'Headers'),
    definitions(
      Object.fromEntries(Object.entries(letter.headers).map(([name, value]) => [name, [value].flat().join(', ')])),
    ),
    h('h2', {}, 'Body'),
    shownBytes(`${id}.bin`, bytes),
    h('h2', {}, 'Replay'),
    replayForm(path, letter, bytes, signal),
  );
}

/** @param {DeadLetter} letter */
function factsOf(letter) {
  const { replayOf, callbackUrl } = letter;
  return definitions({
    Id: letter.id,
    'Call id': letter.callId,
    Function: letter.function,
    Queue: letter.queue,
    Reason: letter.reason,
    Attempts: letter.attempt,
    Accepted: moment(letter.acceptedAt),
    Died: moment(letter.diedAt),
    Request: `${letter.method} ${letter.path}${letter.query}`,
    Source: letter.source,
    'Calls back': callbackUrl,
    'Replay of': replayOf === undefined ? undefined : h('a', { href: `#/invocations/${replayOf}` }, replayOf),
  });
}

/**
 * @param {string} path
 * @param {DeadLetter} letter
 * @param {Uint8Array} bytes
 * @param {AbortSignal} signal
 */
function replayForm(path, letter, bytes, signal) {
  const text = bytes.length <= maxEdited ? textOf(bytes) : undefined;
  const to = h('input', { name: 'to', placeholder: letter.function });
  const headers = h('textarea', { name: 'headers', placeholder: 'Name: value', spellcheck: 'false' });
  const body = h('textarea', { name: 'body', spellcheck: 'false' });
  body.value = text ?? '';
  // As the field has it, which may write line breaks otherwise.
  const before = body.value;
  return h(
    'form',
    {
      onsubmit: (/** @type {SubmitEvent} */ event) => {
        event.preventDefault();
        void attempt(replay);
      },
    },
    labelled('To another function', to),
    labelled('Headers to set, one a line; one without a value is taken off', headers, 'wide'),
    text === undefined
      ? h('p', { class: 'quiet' }, `Its ${size(bytes.length)} are replayed as they are.`)
      : labelled('Body', body, 'wide'),
    h('button', { class: 'main' }, 'Replay'),
    h('button', { type: 'button', class: 'danger', onclick: () => attempt(purge) }, 'Purge'),
  );

  async function replay() {
    const edits = Object.entries(headersOf(headers.value)).map(([name, value]) => [name, value === '' ? null : value]);
    const json = {
      ...(to.value.trim() !== '' && { to: to.value.trim() }),
      ...(edits.length > 0 && { headers: Object.fromEntries(edits) }),
      ...(text !== undefined && body.value !== before && { body: body.value }),
    };
    const { id } = await (await ask(`${path}/replay`, { method: 'POST', json, signal })).json();
    notify('It is replayed as a new invocation.');
    location.hash = `#/invocations/${id}`;
  }

  async function purge() {
    const isSure = await confirmed('Purge it?', 'This dead letter is deleted, with its body, for ever.', 'Purge');
    if (!isSure) return;
    await ask(path, { method: 'DELETE', signal });
    notify('It is purged.');
    location.hash = '#/dead-letters';
  }
}
