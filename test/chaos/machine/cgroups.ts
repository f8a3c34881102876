import { existsSync, mkdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Needs } from './needs.ts';

const root = '/sys/fs/cgroup';
let made = 0;

/** A group of processes (cgroup v1) that may have so much memory, caches of files included. */
export class MemoryCap {
  readonly #folder = join(root, 'memory', `millrace-${process.pid}-${++made}`);

  constructor(bytes: number) {
    mkdirSync(this.#folder);
    writeFileSync(join(this.#folder, 'memory.limit_in_bytes'), String(bytes));
  }

  /** A command that runs the one that follows it in there. */
  get through(): readonly string[] {
    return ['/bin/sh', '-c', `echo $$ > ${join(this.#folder, 'cgroup.procs')} && exec "$@"`, 'sh'];
  }

  /** How often the kernel has killed one of them for it. */
  get kills(): number {
    const control = readFileSync(join(this.#folder, 'memory.oom_control'), 'utf8');
    return Number(/^oom_kill (\d+)/m.exec(control)?.[1]);
  }

  /** Once all of its processes have ended. */
  [Symbol.dispose](): void {
    rmdirSync(this.#folder);
  }
}

/** What `MemoryCap` wants. */
export const memoryCapNeeds: Needs = {
  programs: [],
  packages: [],
  attempt: () => {
    if (!existsSync(join(root, 'memory/memory.limit_in_bytes'))) throw new Error('no cgroup v1 for memory');
    using cap = new MemoryCap(2 ** 28);
    if (Number.isNaN(cap.kills)) throw new Error('this kernel does not count what it kills');
  },
};

/** A disk that does so many writes a second for one process (cgroup v1), and for all others what it always does. */
export class SlowDisk {
  readonly #folder = join(root, 'blkio', `millrace-${process.pid}-${++made}`);
  readonly #pid: number;

  /** Of the folder's disk, from now on. */
  constructor(pid: number, folder: string, writesPerSecond: number) {
    this.#pid = pid;
    const { dev } = statSync(folder);
    // As the kernel counts them: https://man7.org/linux/man-pages/man3/major.3.html
    const device = `${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}`;
    mkdirSync(this.#folder);
    try {
      writeFileSync(join(this.#folder, 'blkio.throttle.write_iops_device'), `${device} ${writesPerSecond}`);
      writeFileSync(join(this.#folder, 'cgroup.procs'), String(pid));
    } catch (error) {
      rmdirSync(this.#folder);
      throw error;
    }
  }

  /** As quick as it was. */
  [Symbol.dispose](): void {
    writeFileSync(join(root, 'blkio/cgroup.procs'), String(this.#pid));
    rmdirSync(this.#folder);
  }
}

/** What `SlowDisk` wants: that the folder of temporary files is on a disk whose writes can be counted. */
export const slowDiskNeeds: Needs = {
  programs: [],
  packages: [],
  attempt: () => {
    if (!existsSync(join(root, 'blkio/blkio.reset_stats'))) throw new Error('no cgroup v1 for block devices');
    using _disk = new SlowDisk(process.pid, tmpdir(), 1_000_000);
  },
};
