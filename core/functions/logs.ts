/** A line that a function wrote. */
export interface FunctionLine {
  /** `name.namespace` */
  readonly function: string;
  /** Which replica, thread or process. */
  readonly instance: string;
  /** Wall clock, ms. */
  readonly at: number;
  readonly text: string;
  readonly callId?: string | undefined;
}

/** What is asked for; undefined: any. */
export interface LineFilter {
  readonly instance?: string | undefined;
  readonly callId?: string | undefined;
  /** Wall clock, ms: lines written since then. */
  readonly since?: number | undefined;
}

interface Ring {
  lines: FunctionLine[];
  bytes: number;
}

/** Of one function. */
const maxLines = 2000;
const maxBytes = 512 * 1024;
/** Of all of them: those that have been silent the longest are forgotten first. */
const maxTotalBytes = 64 * 1024 * 1024;
const maxText = 16 * 1024;
/** What a line takes beside its text, about. */
const lineBytes = 120;

/** The last lines of each function, in memory; older ones are in the gateway's own log. */
export class FunctionLogs {
  /** In the order in which they last wrote. */
  readonly #rings = new Map<string, Ring>();
  readonly #followers = new Map<string, Set<(line: FunctionLine) => void>>();
  #bytes = 0;

  append(line: FunctionLine): void {
    const kept = line.text.length > maxText ? { ...line, text: `${line.text.slice(0, maxText)}…` } : line;
    const ring = this.#rings.get(line.function) ?? { lines: [], bytes: 0 };
    this.#rings.delete(line.function);
    this.#rings.set(line.function, ring);
    ring.lines.push(kept);
    this.#count(ring, sizeOf(kept));
    // Cut in one go now and then: moving the whole list for every line would cost more than the line.
    if (ring.lines.length > 1.25 * maxLines || ring.bytes > 1.25 * maxBytes) this.#trim(ring);
    while (this.#bytes > maxTotalBytes) this.#forgetSilent();
    for (const follower of this.#followers.get(line.function) ?? []) follower(kept);
  }

  /** The last `tail` lines that fit, oldest first; all of them without it. */
  lines(name: string, filter: LineFilter = {}, tail = Infinity): readonly FunctionLine[] {
    const fitting = (this.#rings.get(name)?.lines ?? []).filter((line) => fits(line, filter));
    return tail < fitting.length ? fitting.slice(fitting.length - tail) : fitting;
  }

  /** Gives each line that comes; returns what ends that. */
  follow(name: string, filter: LineFilter, listener: (line: FunctionLine) => void): () => void {
    const follower = (line: FunctionLine): void => {
      if (fits(line, filter)) listener(line);
    };
    const followers = this.#followers.get(name) ?? new Set();
    this.#followers.set(name, followers.add(follower));
    return () => {
      followers.delete(follower);
      if (followers.size === 0 && this.#followers.get(name) === followers) this.#followers.delete(name);
    };
  }

  /** The function is not there any more. */
  forget(name: string): void {
    const ring = this.#rings.get(name);
    if (!ring) return;
    this.#rings.delete(name);
    this.#bytes -= ring.bytes;
  }

  #count(ring: Ring, bytes: number): void {
    ring.bytes += bytes;
    this.#bytes += bytes;
  }

  #trim(ring: Ring): void {
    let first = Math.max(0, ring.lines.length - maxLines);
    let left = ring.lines.slice(first).reduce((sum, line) => sum + sizeOf(line), 0);
    while (left > maxBytes && first < ring.lines.length) left -= sizeOf(ring.lines[first++]);
    ring.lines = ring.lines.slice(first);
    this.#count(ring, left - ring.bytes);
  }

  #forgetSilent(): void {
    const [name] = this.#rings.keys();
    if (name !== undefined) this.forget(name);
  }
}

function fits(line: FunctionLine, { instance, callId, since }: LineFilter): boolean {
  if (instance !== undefined && line.instance !== instance) return false;
  if (callId !== undefined && line.callId !== callId) return false;
  return since === undefined || line.at >= since;
}

function sizeOf(line: FunctionLine | undefined): number {
  return line ? line.text.length + lineBytes : 0;
}
