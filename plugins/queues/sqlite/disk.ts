import { statfsSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Space } from './protocol.ts';

/** Whether the disk has space for new messages, beside what it takes to settle those that are there. */
export class Disk {
  space: Space = { free: Infinity, isEnough: true };
  readonly #folder: string;
  readonly #minFree: number;

  constructor(path: string, minFree: number) {
    this.#folder = dirname(path);
    this.#minFree = minFree;
  }

  /** Takes some microseconds: for each batch. */
  look(): void {
    const { bavail, bsize } = statfsSync(this.#folder);
    const free = bavail * bsize;
    this.space = { free, isEnough: free >= this.#minFree };
  }

  /** A write has told what `statfs` did not: a quota, or somebody who was quicker. Holds until the next look. */
  foundFull(): void {
    this.space = { ...this.space, isEnough: false };
  }
}
