import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { finished } from '../../support/brokers/finished.ts';
import type { Needs } from './needs.ts';

/**
 * A file system of its own, on a file, whose power can be cut: ext4 then forgets whatever was not synced, as a disk does.
 * `kill -9` tells nothing of that, since the page cache outlives a process.
 */
export class LoopDisk {
  /** Where it is mounted. */
  readonly folder: string;
  readonly #home: string;
  #isMounted = false;

  private constructor(home: string) {
    this.#home = home;
    this.folder = join(home, 'disk');
  }

  static async make(mib = 256): Promise<LoopDisk> {
    const disk = new LoopDisk(mkdtempSync(join(tmpdir(), 'millrace-disk-')));
    mkdirSync(disk.folder);
    await finished('truncate', ['-s', `${mib}M`, disk.#image]);
    await finished('mkfs.ext4', ['-q', disk.#image]);
    await disk.#mount();
    return disk;
  }

  /** From now on nothing reaches it, and who writes gets EIO. */
  async cut(): Promise<void> {
    await finished('xfs_io', ['-x', '-c', 'shutdown', this.folder]);
  }

  /** As the machine would after the cut; everybody who had a file open there must be dead. */
  async repower(): Promise<void> {
    await this.#unmount();
    await this.#mount();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#unmount();
    rmSync(this.#home, { recursive: true, force: true });
  }

  get #image(): string {
    return join(this.#home, 'image');
  }

  async #mount(): Promise<void> {
    await finished('mount', ['-o', 'loop', this.#image, this.folder]);
    this.#isMounted = true;
  }

  async #unmount(): Promise<void> {
    if (!this.#isMounted) return;
    await finished('umount', [this.folder]);
    this.#isMounted = false;
  }
}

/** What `LoopDisk` wants. */
export const loopNeeds: Needs = {
  programs: ['xfs_io', 'mkfs.ext4', 'mount', 'umount'],
  packages: ['xfsprogs', 'e2fsprogs', 'mount'],
  attempt: async () => {
    await using disk = await LoopDisk.make(8);
    await disk.cut();
    await disk.repower();
  },
};

/** A file system in memory that is soon full. */
export class SmallDisk {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async make(mib: number): Promise<SmallDisk> {
    const disk = new SmallDisk(mkdtempSync(join(tmpdir(), 'millrace-small-')));
    await finished('mount', ['-t', 'tmpfs', '-o', `size=${mib}m`, 'tmpfs', disk.folder]);
    return disk;
  }

  /** Takes its space but for so many bytes, as another program may. */
  occupy(free: number): void {
    const { bavail, bsize } = statfsSync(this.folder);
    const file = openSync(this.#ballast, 'w');
    try {
      // Who writes meanwhile may have left less than that.
      for (let left = bavail * bsize - free; left > 0;) left -= writeSync(file, Buffer.alloc(Math.min(left, 2 ** 20)));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    } finally {
      closeSync(file);
    }
  }

  release(): void {
    rmSync(this.#ballast, { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await finished('umount', [this.folder]);
    rmSync(this.folder, { recursive: true, force: true });
  }

  get #ballast(): string {
    return join(this.folder, 'ballast');
  }
}

/** What `SmallDisk` wants. */
export const smallDiskNeeds: Needs = {
  programs: ['mount', 'umount'],
  packages: ['mount'],
  attempt: async () => {
    await using disk = await SmallDisk.make(1);
    disk.occupy(0);
  },
};
