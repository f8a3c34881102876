import type { WriteStream } from 'node:tty';
import { age } from './output.ts';

const cells = 40;

/** `replaying ██████░░░░ 12/40 7s`: how much is done, and about how long the rest takes, in one line of a terminal. */
export class ProgressBar {
  readonly #what: string;
  readonly #total: number;
  readonly #out: Pick<WriteStream, 'write' | 'cursorTo' | 'clearLine'>;
  readonly #startedAt = performance.now();
  #done = 0;

  constructor(what: string, total: number, out: Pick<WriteStream, 'write' | 'cursorTo' | 'clearLine'>) {
    this.#what = what;
    this.#total = total;
    this.#out = out;
    this.update(0);
  }

  increment(): void {
    this.update(this.#done + 1);
  }

  update(done: number): void {
    this.#done = done;
    const full = Math.round(Math.min(1, done / this.#total) * cells);
    const secondsEach = done === 0 ? 0 : (performance.now() - this.#startedAt) / 1000 / done;
    const left = age(secondsEach * Math.max(0, this.#total - done));
    this.#out.cursorTo(0);
    this.#out.write(`${this.#what} ${'█'.repeat(full)}${'░'.repeat(cells - full)} ${done}/${this.#total} ${left}`);
    this.#out.clearLine(1);
  }

  /** Leaves the line as it is, and goes to the next. */
  stop(): void {
    this.#out.write('\n');
  }
}
