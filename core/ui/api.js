// @ts-check
import { credentials, signIn } from './session.js';

/** What the gateway refused, in its own words. */
export class Refusal extends Error {
  /**
   * @param {number} status
   * @param {string} message
   */
  constructor(status, message) {
    super(message);
    this.name = 'Refusal';
    this.status = status;
  }
}

/**
 * Asks a route of the API, and first for credentials where it wants some.
 *
 * @param {string} path
 * @param {{ method?: string, json?: unknown, accept?: string, signal?: AbortSignal }} [options]
 * @returns {Promise<Response>} which is a success
 */
export async function ask(path, { method = 'GET', json, accept = 'application/json', signal } = {}) {
  for (;;) {
    const answer = await fetch(path, {
      method,
      // The browser keeps none of its own, and asks in no window of its own.
      credentials: 'omit',
      headers: { accept, ...credentials(), ...(json !== undefined && { 'content-type': 'application/json' }) },
      ...(json !== undefined && { body: JSON.stringify(json) }),
      ...(signal && { signal }),
    });
    if (answer.ok) return answer;
    if (answer.status !== 401) throw await refusalOf(answer);
    await answer.body?.cancel();
    await signIn();
  }
}

/**
 * @param {string} path
 * @param {Parameters<typeof ask>[1]} [options]
 * @returns {Promise<any>}
 */
export async function askJson(path, options) {
  return (await ask(path, options)).json();
}

/** @param {Response} answer */
async function refusalOf(answer) {
  const text = await answer.text();
  try {
    const { error } = JSON.parse(text);
    return new Refusal(answer.status, `${error.message} (${error.code})`);
  } catch {
    return new Refusal(answer.status, `the gateway answered ${answer.status} ${text.slice(0, 200)}`);
  }
}

/**
 * The parts of a text that comes bit by bit, each without the separator at its end.
 *
 * @param {Response} answer
 * @param {string} separator
 */
export async function* parts(answer, separator) {
  let text = '';
  for await (const chunk of answer.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    const found = (text + chunk).split(separator);
    text = found.pop() ?? '';
    yield* found;
  }
}

/**
 * The data of Server-Sent Events. Not by EventSource, which cannot say who asks.
 *
 * @param {Response} answer
 */
export async function* serverSent(answer) {
  for await (const message of parts(answer, '\n\n')) {
    const data = message.split('\n').find((line) => line.startsWith('data: '));
    if (data !== undefined) yield JSON.parse(data.slice(6));
  }
}

/**
 * `?a=1&b=2` of what is not empty.
 *
 * @param {Readonly<Record<string, string | number | undefined>>} values
 */
export function queryOf(values) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value !== undefined && value !== '') query.set(name, String(value));
  }
  return query.size === 0 ? '' : `?${query}`;
}
