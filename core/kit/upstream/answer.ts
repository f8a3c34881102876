import { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import type { Headers } from '../../contracts/invocation.ts';
import { hopByHop } from '../headers.ts';

/** By lower-case name. */
export type ReceivedHeaders = Readonly<Record<string, string | string[] | undefined>>;

/** The upstream's headers without those of the connection, what `Connection` names included. */
export function answerHeaders(received: ReceivedHeaders): Headers {
  const { connection } = received;
  const nominated = namesIn(connection);
  const headers: Record<string, string | string[]> = {};
  for (const name in received) {
    const value = received[name];
    if (value === undefined || hopByHop.has(name) || nominated?.includes(name)) continue;
    if (name === '__proto__') Object.defineProperty(headers, name, { value, enumerable: true });
    else headers[name] = value;
  }
  return headers;
}

/** Undefined for what nearly every upstream says. */
function namesIn(connection: string | string[] | undefined): readonly string[] | undefined {
  if (connection === undefined || connection === 'keep-alive' || connection === 'close') return undefined;
  return String(connection)
    .split(',')
    .map((name) => name.trim().toLowerCase());
}

/** An answer that is still coming. The upstream sends no more than its reader takes. */
export class AnswerBody extends Readable {
  readonly #controller: Dispatcher.DispatchController;

  constructor(controller: Dispatcher.DispatchController) {
    super();
    this.#controller = controller;
    this.on('error', () => undefined); // Whoever reads it is told as well; nobody may, by then.
  }

  override _read(): void {
    this.#controller.resume();
  }

  /** After its end there is nothing left to abort. */
  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.readableEnded) this.#controller.abort(error ?? new Error('nobody reads the answer any more'));
    done(error);
  }
}
