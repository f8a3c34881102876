// @ts-check
import { h, setText } from './dom.js';
import { keptMs } from './history.js';

const [width, height] = [300, 72];

/** A line of numbers over the last five minutes, and in words. */
export class Chart {
  #line = svg('path');
  #area = svg('path');
  #picture = svg('svg');
  #now = h('span');
  /** @type {string} */
  #title;
  /** @type {(value: number) => string} */
  #format;

  /**
   * @param {string} title
   * @param {(value: number) => string} format
   */
  constructor(title, format) {
    this.#title = title;
    this.#format = format;
    this.#picture.setAttribute('class', 'chart');
    this.#picture.setAttribute('viewBox', `0 0 ${width} ${height}`);
    this.#picture.setAttribute('preserveAspectRatio', 'none');
    this.#picture.setAttribute('role', 'img');
    this.#area.setAttribute('class', 'area');
    this.#picture.append(this.#area, this.#line);
    this.element = h('figure', {}, h('figcaption', {}, h('span', {}, title), this.#now), this.#picture);
  }

  /** @param {readonly { readonly at: number, readonly value: number }[]} points oldest first */
  show(points) {
    const last = points.at(-1);
    const most = Math.max(0, ...points.map(({ value }) => value));
    const words = `${this.#format(last?.value ?? 0)} now, at most ${this.#format(most)}`;
    setText(this.#now, words);
    this.#picture.setAttribute('aria-label', `${this.#title} in the last five minutes: ${words}`);
    const end = last?.at ?? 0;
    const places = points.map(({ at, value }) => {
      const x = width * (1 - (end - at) / keptMs);
      const y = height - 2 - ((height - 4) * value) / (most || 1);
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    });
    this.#line.setAttribute('d', places.length > 1 ? `M${places.join('L')}` : '');
    const left = places[0]?.split(',')[0];
    this.#area.setAttribute('d', places.length > 1 ? `M${left},${height}L${places.join('L')}L${width},${height}Z` : '');
  }
}

/** @param {'svg' | 'path'} tag */
function svg(tag) {
  return document.createElementNS('http://www.w3.org/2000/svg', tag);
}
