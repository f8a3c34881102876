import { type FSWatcher, statSync, watch } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Logger } from 'pino';

/** An editor writes a file in several steps; a change counts once it has been quiet for so long, ms. */
const quietMs = 100;

/** What a module may import; not the copies that editors put beside it. */
const source = /\.(?:[cm]?[jt]s|json|wasm)$/;
/** Large, and changed by nobody who writes a function. */
const dependencies = /(?:^|[\\/])node_modules(?:[\\/]|$)/;

/** Tells when a file beside or below a module has changed. One watch a folder, however many modules are in it. */
export class ModuleWatch {
  readonly #logger: Logger;
  readonly #onChange: (module: string) => void;
  readonly #folders = new Map<string, { readonly watcher: FSWatcher; readonly modules: Set<string> }>();
  /** Size and time of the files that were seen to change: reading a file may also be told as an event. */
  readonly #seen = new Map<string, string>();
  readonly #quiet = new Map<string, NodeJS.Timeout>();

  constructor(logger: Logger, onChange: (module: string) => void) {
    this.#logger = logger;
    this.#onChange = onChange;
  }

  add(module: string): void {
    const folder = dirname(module);
    const known = this.#folders.get(folder);
    this.#seen.set(module, stampOf(module));
    if (known) {
      known.modules.add(module);
      return;
    }
    try {
      const watcher = watch(folder, { recursive: true, persistent: false, ignore: dependencies }, (_event, name) => {
        if (name !== null && source.test(name) && !dependencies.test(name)) this.#changed(folder, join(folder, name));
      });
      watcher.on('error', (error) => this.#logger.warn({ err: error, folder }, 'a folder cannot be watched any more'));
      this.#folders.set(folder, { watcher, modules: new Set([module]) });
    } catch (error) {
      this.#logger.warn({ err: error, folder }, 'a folder cannot be watched: changes need a restart');
    }
  }

  remove(module: string): void {
    const folder = dirname(module);
    const known = this.#folders.get(folder);
    known?.modules.delete(module);
    if (known?.modules.size !== 0) return;
    known.watcher.close();
    this.#folders.delete(folder);
  }

  stop(): void {
    for (const { watcher } of this.#folders.values()) watcher.close();
    this.#folders.clear();
    for (const timer of this.#quiet.values()) clearTimeout(timer);
    this.#quiet.clear();
  }

  #changed(folder: string, file: string): void {
    clearTimeout(this.#quiet.get(file));
    const timer = setTimeout(() => {
      this.#quiet.delete(file);
      const stamp = stampOf(file);
      if (this.#seen.get(file) === stamp) return;
      this.#seen.set(file, stamp);
      const modules = this.#folders.get(folder)?.modules ?? new Set<string>();
      // A module's own file concerns it alone; any other file may be imported by all of them.
      for (const module of modules.has(file) ? [file] : modules) this.#onChange(module);
    }, quietMs);
    this.#quiet.set(file, timer);
  }
}

function stampOf(file: string): string {
  const stats = statSync(file, { throwIfNoEntry: false });
  return stats ? `${stats.size} ${stats.mtimeMs}` : 'gone';
}
