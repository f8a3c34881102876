import { dirname } from 'node:path';

/** What a program asked of the file system, in the order in which it did. Paths are absolute. */
export type DiskEvent =
  | { readonly kind: 'create'; readonly path: string }
  | { readonly kind: 'write'; readonly path: string; readonly at: number; readonly bytes: Uint8Array }
  | { readonly kind: 'truncate'; readonly path: string; readonly size: number }
  | { readonly kind: 'unlink'; readonly path: string }
  /** fsync or fdatasync has returned: of a file for its bytes, of a folder for the names in it. */
  | { readonly kind: 'sync'; readonly path: string };

/** What a disk writes whole or not at all, bytes. */
const sector = 512;

type Change = Extract<DiskEvent, { kind: 'write' | 'truncate' }>;

/** A file, apart from its name. */
class Inode {
  #bytes = Buffer.alloc(4096);
  #size = 0;
  /** Changes that were not synced. */
  #pending: Change[] = [];

  change(change: Change): void {
    this.#pending.push(change);
  }

  sync(): void {
    for (const change of this.#pending) this.#apply(change);
    this.#pending = [];
  }

  /** What a disk may have of it: all that was synced, and of the rest whatever has got there, torn and in any order. */
  crashed(random: () => number): Buffer {
    const copy = new Inode();
    copy.#apply({ kind: 'write', path: '', at: 0, bytes: this.#bytes.subarray(0, this.#size) });
    for (const change of arrived(this.#pending, random)) copy.#apply(change);
    return copy.#bytes.subarray(0, copy.#size);
  }

  #apply(change: Change): void {
    if (change.kind === 'truncate') {
      this.#grow(change.size);
      this.#bytes.fill(0, change.size, Math.max(change.size, this.#size));
      this.#size = change.size;
      return;
    }
    const end = change.at + change.bytes.byteLength;
    this.#grow(end);
    this.#bytes.set(change.bytes, change.at);
    this.#size = Math.max(this.#size, end);
  }

  #grow(size: number): void {
    if (size <= this.#bytes.byteLength) return;
    const larger = Buffer.alloc(Math.max(size, 2 * this.#bytes.byteLength));
    larger.set(this.#bytes.subarray(0, this.#size));
    this.#bytes = larger;
  }
}

/**
 * A disk that loses its power: what was synced stays, of the rest a random part does. Harsher than most file systems, and
 * as harsh as POSIX allows: a file that was made may be gone until its folder was synced, and one removed may be back.
 */
export class SimulatedDisk {
  /** As programs see it. */
  readonly #names = new Map<string, Inode>();
  /** As it is on the disk for certain. */
  readonly #durable = new Map<string, Inode>();

  apply(event: DiskEvent): void {
    const { path } = event;
    switch (event.kind) {
      case 'create':
        if (!this.#names.has(path)) this.#names.set(path, new Inode());
        return;
      case 'unlink':
        this.#names.delete(path);
        return;
      case 'sync':
        this.#names.get(path)?.sync();
        this.#syncNames(path);
        return;
      default:
        this.#names.get(path)?.change(event);
    }
  }

  /** The files that may be there after the power was cut now. */
  crash(random: () => number): Map<string, Buffer> {
    const files = new Map<string, Buffer>();
    for (const path of new Set([...this.#names.keys(), ...this.#durable.keys()])) {
      const now = this.#names.get(path);
      const durable = this.#durable.get(path);
      const inode = now === durable || random() < 0.5 ? now : durable;
      if (inode) files.set(path, inode.crashed(random));
    }
    return files;
  }

  #syncNames(folder: string): void {
    for (const path of [...this.#durable.keys()].filter((one) => dirname(one) === folder)) this.#durable.delete(path);
    for (const [path, inode] of this.#names) if (dirname(path) === folder) this.#durable.set(path, inode);
  }
}

/** Those of the changes that have reached the disk: none, all, the first ones, or some sectors of some. */
function arrived(pending: readonly Change[], random: () => number): readonly Change[] {
  const draw = random();
  if (pending.length === 0 || draw < 0.15) return [];
  if (draw < 0.3) return pending;
  const sectors = pending.flatMap((change) => (change.kind === 'write' ? split(change) : [change]));
  if (draw < 0.6) return sectors.slice(0, Math.floor(random() * (sectors.length + 1)));
  const share = random();
  return sectors.filter(() => random() < share);
}

function split({ path, at, bytes }: Extract<Change, { kind: 'write' }>): Change[] {
  const parts: Change[] = [];
  for (let start = 0; start < bytes.byteLength;) {
    // Sectors are of the disk, not of the write.
    const end = Math.min(bytes.byteLength, start + sector - ((at + start) % sector));
    parts.push({ kind: 'write', path, at: at + start, bytes: bytes.subarray(start, end) });
    start = end;
  }
  return parts;
}
