interface Session {
  readonly id: string;
  instance: string | undefined;
  lastSeen: number;
  alive: boolean;
  /** The highest number seen. */
  number: number;
}

export type DumpedSession = Readonly<Session>;

/** So long may a gateway be silent, while others are not, before it is taken for dead. */
export const silenceMs = 12_000;
/** Every gateway says something at least this often while anything is leased. */
export const heartbeatMs = 4000;
/** When nobody has said anything for longer than this, nobody could. */
export const gapMs = 8000;
/** An entry is not sent again after so long, so its number need not be remembered for longer. */
const rememberedMs = 600_000;

/** The gateways that write to a ledger: which of their entries were seen, and which of them are alive. */
export class Sessions {
  readonly #sessions = new Map<string, Session>();

  /** Whether the entry is new; whoever sends it is alive. */
  admit(id: string, number: number, now: number): boolean {
    const session = this.#session(id, now);
    session.lastSeen = now;
    session.alive = true;
    if (number <= session.number) return false;
    session.number = number;
    return true;
  }

  /** Gives the session its name; returns the ids of those of the same name, which are over. */
  open(id: string, instance: string | undefined, now: number): string[] {
    this.#session(id, now).instance = instance;
    const superseded: string[] = [];
    for (const other of this.#sessions.values()) {
      if (instance === undefined || other.instance !== instance || other.id === id || !other.alive) continue;
      other.alive = false;
      superseded.push(other.id);
    }
    return superseded;
  }

  close(id: string): void {
    const session = this.#sessions.get(id);
    if (session) session.alive = false;
  }

  /** Returns the ids of those that have been silent for too long. */
  advance(now: number, gap: number): string[] {
    const dead: string[] = [];
    for (const session of this.#sessions.values()) {
      if (gap > gapMs) session.lastSeen += gap;
      if (session.alive && session.lastSeen + silenceMs <= now) {
        session.alive = false;
        dead.push(session.id);
      }
      if (!session.alive && session.lastSeen + rememberedMs <= now) this.#sessions.delete(session.id);
    }
    return dead;
  }

  dump(): DumpedSession[] {
    return [...this.#sessions.values()];
  }

  load(sessions: readonly DumpedSession[]): void {
    for (const session of sessions) this.#sessions.set(session.id, { ...session, instance: session.instance });
  }

  #session(id: string, now: number): Session {
    const session = this.#sessions.get(id);
    if (session) return session;
    const fresh: Session = { id, instance: undefined, lastSeen: now, alive: true, number: 0 };
    this.#sessions.set(id, fresh);
    return fresh;
  }
}
