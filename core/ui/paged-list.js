// @ts-check
/** @import { Table } from './table.js' */
import { askJson, queryOf } from './api.js';
import { attempt, h } from './dom.js';
import { onFigures } from './figures.js';

const pageSize = 100;

/**
 * A list of the API that goes back in time page by page. It shows the newest ones, live, until somebody asks for older ones:
 * then it stands still.
 *
 * @template Row
 */
export class PagedList {
  #path;
  #filter;
  #table;
  #signal;
  #older = h('button', { type: 'button', hidden: true, onclick: () => attempt(() => this.#more()) }, 'Older ones');
  /** @type {Row[]} */
  #rows = [];
  /** @type {string | undefined} */
  #cursor;
  #isStill = false;
  /** The last that was asked for: an answer to what was asked before it comes too late. */
  #asked = 0;

  /**
   * @param {string} path which answers with `items` and a `cursor`
   * @param {() => Record<string, string>} filter
   * @param {Table<Row>} table
   * @param {AbortSignal} signal
   */
  constructor(path, filter, table, signal) {
    this.#path = path;
    this.#filter = filter;
    this.#table = table;
    this.#signal = signal;
    this.element = h('div', {}, table.element, h('div', { class: 'bar' }, this.#older));
    onFigures(signal, (hasNews) => {
      if (hasNews && !this.#isStill) void attempt(() => this.newest());
    });
  }

  /** Begins anew, with what the filter says now. */
  async newest() {
    this.#isStill = false;
    await this.#take([]);
  }

  async #more() {
    this.#isStill = true;
    await this.#take(this.#rows, this.#cursor);
  }

  /**
   * @param {readonly Row[]} before
   * @param {string} [cursor]
   */
  async #take(before, cursor) {
    const asked = ++this.#asked;
    const query = queryOf({ ...this.#filter(), limit: pageSize, cursor });
    /** @type {{ items: Row[], cursor?: string }} */
    const page = await askJson(`${this.#path}${query}`, { signal: this.#signal });
    if (asked !== this.#asked) return;
    this.#rows = [...before, ...page.items];
    this.#cursor = page.cursor;
    this.#older.hidden = page.cursor === undefined;
    this.#table.show(this.#rows);
  }
}
