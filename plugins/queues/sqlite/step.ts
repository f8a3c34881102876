import type { DatabaseSync } from 'node:sqlite';
import { planted } from '../../../core/delivery/failpoint.ts';
import type { Span } from './protocol.ts';

/** For the chaos kit only: a bug that it plants (test/chaos/mutants.ts). */
const isOnWallClock = planted('lease-on-wall-clock');

/**
 * What all operations of one batch share: the time, the bodies that came along, and how to take back what they did in
 * memory when the transaction does not become durable.
 */
export class Step {
  /** Queue time: what is due by this is due. */
  now = 0;
  /** The same, rounded up: from here delays and lifetimes are counted, so that none ends early. */
  soon = 0;
  /** Wall clock, for what people read. */
  wall = 0;
  /** Watched messages that reached their end. */
  ended: string[] = [];
  /** Ids whose end somebody waits for. */
  readonly watched = new Set<string>();
  readonly database: DatabaseSync;
  #bodies: Uint8Array = new Uint8Array(0);
  readonly #undo: (() => void)[] = [];

  constructor(database: DatabaseSync) {
    this.database = database;
  }

  begin(queueTime: number, wall: number, bodies: Uint8Array | undefined): void {
    const time = isOnWallClock ? wall : queueTime;
    this.now = Math.floor(time);
    this.soon = Math.ceil(time);
    this.wall = Math.round(wall);
    this.ended = [];
    this.#bodies = bodies ?? new Uint8Array(0);
  }

  bytes([start, end]: Span): Uint8Array {
    return this.#bodies.subarray(start, end);
  }

  onUndo(action: () => void): void {
    this.#undo.push(action);
  }

  keep(): void {
    this.#undo.length = 0;
    for (const id of this.ended) this.watched.delete(id);
  }

  undo(): void {
    for (const action of this.#undo.toReversed()) action();
    this.#undo.length = 0;
    this.ended = [];
  }
}
