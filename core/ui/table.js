// @ts-check
import { h, setText } from './dom.js';
import { counted } from './format.js';

/** Ten thousand rows are quick to sort, and slow to lay out. */
const pageSize = 100;

/**
 * @template Row
 * @typedef {{
 *   readonly title: string,
 *   readonly text?: (row: Row) => string | number,
 *   readonly node?: (row: Row) => Node,
 *   readonly by?: (row: Row) => string | number,
 *   readonly tone?: (row: Row) => string,
 *   readonly kind?: string,
 * }} Column What a row has in it: `text`, asked again each time, or a `node`, made once for each row. Sorted `by`. `kind` is
 * a class of its cells, `tone` one of what it says now.
 */

/**
 * A table that is sorted by its headers and read in pages. Rows keep their elements for as long as they are shown, so that
 * focus, selection and screen readers stay where they are while figures change.
 *
 * @template Row
 */
export class Table {
  /** @type {readonly Column<Row>[]} */
  #columns;
  /** @type {(row: Row) => string} */
  #keyOf;
  /** @type {Map<string, { line: HTMLTableRowElement, cells: HTMLTableCellElement[] }>} */
  #lines = new Map();
  /** @type {readonly Row[]} */
  #rows = [];
  /** @type {{ column: Column<Row>, isDown: boolean } | undefined} */
  #order;
  #page = 0;
  #body = h('tbody');
  #headers;
  #count = h('span', { role: 'status' });
  #previous = h('button', { type: 'button', onclick: () => this.#turn(-1) }, 'Previous page');
  #next = h('button', { type: 'button', onclick: () => this.#turn(1) }, 'Next page');
  #empty;

  /**
   * @param {string} caption
   * @param {readonly Column<Row>[]} columns the first one names the row
   * @param {(row: Row) => string} keyOf
   * @param {string} empty what is said where there are none
   */
  constructor(caption, columns, keyOf, empty) {
    this.#columns = columns;
    this.#keyOf = keyOf;
    this.#empty = h('p', { class: 'quiet' }, empty);
    this.#headers = columns.map((column) => this.#header(column));
    const table = h('table', {}, h('caption', {}, caption), h('thead', {}, h('tr', {}, ...this.#headers)), this.#body);
    this.scroll = h('div', { class: 'scroll', role: 'region', 'aria-label': caption, tabindex: 0 }, table);
    this.pager = h('div', { class: 'bar' }, this.#previous, this.#next, this.#count);
    this.element = h('div', {}, this.scroll, this.#empty, this.pager);
    this.show([]);
  }

  /** @param {readonly Row[]} rows */
  show(rows) {
    this.#rows = rows;
    this.#draw();
  }

  /** @param {Column<Row>} column */
  #header(column) {
    const by = column.by ?? column.text;
    const label = by
      ? h('button', { type: 'button', onclick: () => this.#sortBy(column) }, column.title)
      : column.title;
    return h('th', { scope: 'col', class: column.kind }, label);
  }

  /** @param {Column<Row>} column */
  #sortBy(column) {
    // Numbers are looked at for the largest of them.
    const isDown = this.#order?.column === column ? !this.#order.isDown : column.kind === 'number';
    this.#order = { column, isDown };
    for (const [index, header] of this.#headers.entries()) {
      if (this.#columns[index] === column) header.setAttribute('aria-sort', isDown ? 'descending' : 'ascending');
      else header.removeAttribute('aria-sort');
    }
    this.#page = 0;
    this.#draw();
  }

  /** @param {number} pages */
  #turn(pages) {
    this.#page += pages;
    this.#draw();
    this.scroll.scrollIntoView({ block: 'nearest' });
  }

  #draw() {
    const total = this.#rows.length;
    const pages = Math.max(1, Math.ceil(total / pageSize));
    this.#page = Math.min(this.#page, pages - 1);
    const first = this.#page * pageSize;
    const shown = this.#sorted().slice(first, first + pageSize);
    const keys = new Set(shown.map(this.#keyOf));
    const focused = document.activeElement;
    for (const [key, { line }] of this.#lines) {
      if (keys.has(key)) continue;
      line.remove();
      this.#lines.delete(key);
    }
    for (const [index, row] of shown.entries()) {
      const line = this.#lineOf(row);
      if (this.#body.rows[index] !== line) this.#body.insertBefore(line, this.#body.rows[index] ?? null);
    }
    // A row that has moved has lost it.
    if (focused instanceof HTMLElement && this.#body.contains(focused)) focused.focus({ preventScroll: true });
    this.scroll.hidden = total === 0;
    this.#empty.hidden = total > 0;
    this.pager.hidden = pages === 1;
    this.#previous.disabled = this.#page === 0;
    this.#next.disabled = this.#page === pages - 1;
    setText(this.#count, `${counted(first + 1)} to ${counted(first + shown.length)} of ${counted(total)}`);
  }

  #sorted() {
    if (!this.#order) return this.#rows;
    const { column, isDown } = this.#order;
    const by = column.by ?? column.text ?? (() => '');
    return this.#rows
      .map((row) => ({ row, value: by(row) }))
      .sort((one, other) => (isDown ? -1 : 1) * compared(one.value, other.value))
      .map(({ row }) => row);
  }

  /** @param {Row} row */
  #lineOf(row) {
    const key = this.#keyOf(row);
    let known = this.#lines.get(key);
    if (!known) {
      const cells = this.#columns.map(({ node }, index) => {
        const cell = index === 0 ? h('th', { scope: 'row' }) : h('td');
        if (node) cell.append(node(row));
        return cell;
      });
      known = { line: h('tr', {}, ...cells), cells };
      this.#lines.set(key, known);
    }
    for (const [index, { text, tone, kind }] of this.#columns.entries()) {
      const cell = known.cells[index];
      if (!cell) continue;
      cell.className = [kind, tone?.(row)].filter(Boolean).join(' ');
      if (text) setText(cell, text(row));
    }
    return known.line;
  }
}

/**
 * @param {string | number} one
 * @param {string | number} other
 */
function compared(one, other) {
  if (typeof one === 'number' && typeof other === 'number') return one - other;
  if (one === other) return 0;
  return one < other ? -1 : 1;
}
