import { statfsSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Space } from './protocol.ts';

/** So often, ms: what is written meanwhile is little beside what is to stay free. */
const lookMs = 100;

/** Whether the disk has space for new messages, beside what it takes to settle those that are there. */
export class Disk {
  space: Space = { free: Infinity, isEnough: true };
  readonly #folder: string;
  readonly #minFree: number;
  #lookAt = -Infinity;

  constructor(path: string, minFree: number) {
    this.#folder = dirname(path);
    this.#minFree = minFree;
  }

  /** `now`: monotonic ms. */
  look(now: number): void {
    if (this.space.isEnough && now < this.#lookAt) return;
    this.#lookAt = now + lookMs;
    const { bavail, bsize } = statfsSync(this.#folder);
    const free = bavail * bsize;
    this.space = { free, isEnough: free >= this.#minFree };
  }

  /** A write has told what `statfs` did not: a quota, or somebody who was quicker. Holds until the next look. */
  foundFull(): void {
    this.space = { ...this.space, isEnough: false };
  }
}
