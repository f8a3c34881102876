import { globSync, renameSync, writeFileSync } from 'node:fs';
import type { Needs } from './needs.ts';

/** What `FakeClock` wants. */
export const clockNeeds: Needs = {
  programs: ['faketime'],
  packages: ['faketime'],
  attempt: () => {
    if (library() === undefined) throw new Error('libfaketime.so.1 is not where Debian has it');
  },
};

/** The wall clock of a process, moved while it runs; its monotonic clock stays true. */
export class FakeClock {
  readonly #file: string;

  /** `file`: where the process will look. */
  constructor(file: string) {
    this.#file = file;
    this.jump(0);
  }

  /** What the process has to be started with. */
  get env(): Readonly<Record<string, string>> {
    return {
      LD_PRELOAD: library() ?? '',
      FAKETIME_TIMESTAMP_FILE: this.#file,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    };
  }

  /** So many seconds off from now on; of the true time, not of the jump before. */
  jump(seconds: number): void {
    // Renamed, so that it is never read half.
    writeFileSync(`${this.#file}.new`, `${seconds < 0 ? '-' : '+'}${Math.abs(seconds)}`);
    renameSync(`${this.#file}.new`, this.#file);
  }
}

function library(): string | undefined {
  // Of several threads.
  return globSync('/usr/lib/*/faketime/libfaketimeMT.so.1')[0];
}
