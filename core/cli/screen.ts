import type { ReadStream, WriteStream } from 'node:tty';

const enter = '\u001b[?1049h\u001b[?25l\u001b[?7l';
const leave = '\u001b[?7h\u001b[?25h\u001b[?1049l';
const home = '\u001b[H';
const toLineEnd = '\u001b[K';
const toScreenEnd = '\u001b[J';

/** A terminal as a page that is drawn again and again in place, until `q` or Ctrl-C. */
export class Screen {
  readonly #in: ReadStream;
  readonly #out: WriteStream;
  readonly #closed = new AbortController();
  readonly #read: (keys: Buffer) => void;

  constructor(input: ReadStream, output: WriteStream, onKey: (key: string) => void) {
    this.#in = input;
    this.#out = output;
    this.#read = (keys) => {
      for (const key of keys.toString()) {
        // In raw mode Ctrl-C is a key like any other.
        if (key === 'q' || key === '\u0003') this.close();
        else onKey(key);
      }
    };
    if (input.isTTY) input.setRawMode(true);
    input.on('data', this.#read).resume();
    output.write(enter);
  }

  /** Aborts when somebody wants to leave. */
  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  /** As much of the body as fits above the foot. A terminal that does not know its size gets all of it. */
  draw(body: string, foot: readonly string[]): void {
    const height = this.#out.rows > foot.length ? this.#out.rows - foot.length : Infinity;
    const lines = [...body.split('\n').slice(0, height), ...foot];
    this.#out.write(`${home}${lines.map((line) => `${line}${toLineEnd}`).join('\r\n')}${toScreenEnd}`);
  }

  /** Leaves the terminal as it was. */
  close(): void {
    if (this.closed.aborted) return;
    this.#closed.abort();
    this.#in.off('data', this.#read).pause();
    if (this.#in.isTTY) this.#in.setRawMode(false);
    this.#out.write(leave);
  }
}
