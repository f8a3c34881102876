import { glob, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { readText } from './bounded-file.ts';
import type { Origin } from './include.ts';

/** Larger than any file that a configuration may be made of. */
const maxBytes = 2 ** 21;

/**
 * Tells when a configuration would read otherwise than it did. It looks rather than listens: what an editor renames, a
 * secret behind a link that is moved (as Kubernetes does it), a file of another machine that this one is not told of are
 * all seen alike, and a change counts only once it has lasted from one look to the next.
 */
export class ConfigWatch {
  readonly #onChange: () => void | Promise<void>;
  #origin: Origin;
  #everyMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #stopped = true;
  /** By path: what a file said when it looked like this from outside. */
  #seen = new Map<string, { readonly stamp: string; readonly text: string | undefined }>();
  /** What differed at the look before. */
  #candidate: string | undefined;
  /** What has been told: where reading it anew changed nothing about that, it is not told again. */
  #told: string | undefined;

  constructor(origin: Origin, onChange: () => void | Promise<void>) {
    this.#origin = origin;
    this.#onChange = onChange;
  }

  /** Looks from now on, every so often; `watch: false` ends it. */
  configure({ watch, debounce }: { readonly watch: boolean; readonly debounce: number }): void {
    this.#everyMs = debounce;
    const wasStopped = this.#stopped;
    this.#stopped = !watch;
    if (!watch) clearTimeout(this.#timer);
    else if (wasStopped) this.#next();
  }

  /** The configuration has been read again: what it was made of then is what later looks are compared with. */
  follow(origin: Origin): void {
    this.#origin = origin;
    this.#candidate = undefined;
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #next(): void {
    this.#timer = setTimeout(() => void this.#look(), this.#everyMs).unref();
  }

  /** Never rejects: what cannot be read is a change like any other, if it could be before. */
  async #look(): Promise<void> {
    const origin = this.#origin;
    const difference = await this.#difference(origin);
    // While it looked somebody may have read it anew.
    const isOld = this.#stopped || origin !== this.#origin;
    const isLasting = !isOld && difference !== undefined && difference === this.#candidate;
    this.#candidate = isOld ? undefined : difference;
    if (isLasting && difference !== this.#told) {
      this.#told = difference;
      await this.#onChange();
    }
    if (!this.#stopped) this.#next();
  }

  /** Undefined when nothing differs; otherwise the same text for the same difference. */
  async #difference({ files, folder, globs }: Origin): Promise<string | undefined> {
    const seen = new Map<string, { readonly stamp: string; readonly text: string | undefined }>();
    const found: string[] = [];
    for (const [path, before] of files) {
      const stamp = await stampOf(path);
      if (stamp === undefined) continue;
      const known = this.#seen.get(path);
      const now = known?.stamp === stamp ? known : { stamp, text: textOf(path, stamp) };
      seen.set(path, now);
      if (now.text !== before) found.push(`${path} ${stamp}`);
    }
    this.#seen = seen;
    for (const [pattern, before] of globs) {
      const now = await matching(pattern, folder);
      if (now.length !== before.length || now.some((file, index) => file !== before[index])) found.push(now.join('\n'));
    }
    return found.length === 0 ? undefined : found.join('\n');
  }
}

/**
 * What a file looks like from outside: another text whenever it is written to, or another file takes its place. Undefined
 * for a pipe and the like, which says something once only.
 */
async function stampOf(path: string): Promise<string | undefined> {
  try {
    const stats = await stat(path, { bigint: true });
    const { size, mtimeNs, ctimeNs, ino } = stats;
    return stats.isFile() ? `${size} ${mtimeNs} ${ctimeNs} ${ino}` : undefined;
  } catch {
    return 'gone'; // Or not to be looked at, which is the same here.
  }
}

function textOf(path: string, stamp: string): string | undefined {
  if (stamp === 'gone') return undefined;
  try {
    return readText(path, maxBytes);
  } catch {
    return undefined; // As it is told when the configuration is read.
  }
}

async function matching(pattern: string, folder: string): Promise<string[]> {
  try {
    const found: string[] = [];
    for await (const file of glob(pattern, { cwd: folder })) found.push(resolve(folder, file));
    return found.toSorted();
  } catch {
    return []; // As it is told when the configuration is read.
  }
}
