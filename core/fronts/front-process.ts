import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { ToFront, ToOwner } from './protocol.ts';

const program = fileURLToPath(new URL(`../main${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url));

/** What a front has to take part in a change, or to tell what it has counted, ms: then it hangs, and is ended. */
const answerMs = 10_000;

/** One process that answers in front, as the owner sees it. */
export class FrontProcess {
  /** Resolves once it has ended, however that came. */
  readonly ended: Promise<void>;
  /** It takes connections. */
  isListening = false;
  /** It has answered all that it had, and takes no more. */
  isClosed = false;
  readonly #child: ChildProcess;
  readonly #onSaid: (said: ToOwner) => void;
  readonly #answers = new Map<string, () => void>();
  #turn = 0;

  constructor(onSaid: (said: ToOwner) => void) {
    this.#onSaid = onSaid;
    this.#child = spawn(process.execPath, [...process.execArgv, program, 'front'], {
      serialization: 'advanced',
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.ended = once(this.#child, 'exit').then(
      () => undefined,
      () => undefined, // It could not be started: it has ended all the same.
    );
    this.#child.on('error', () => this.kill());
    this.#child.on('message', (said) => this.#said(said as ToOwner));
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** What cannot be said is said to nobody: its channel has closed, and so it has ended, or is about to. */
  say(words: ToFront): void {
    if (this.#child.connected) this.#child.send(words, () => undefined);
  }

  /** Says it and waits for the answer; one that gives none is ended. */
  async ask(kind: 'hold' | 'tell'): Promise<void> {
    const turn = ++this.#turn;
    const { promise, resolve } = Promise.withResolvers<void>();
    const key = `${kind} ${turn}`;
    this.#answers.set(key, resolve);
    const late = setTimeout(() => this.kill(), answerMs);
    this.say({ kind, turn });
    await Promise.race([promise, this.ended]);
    clearTimeout(late);
    this.#answers.delete(key);
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  #said(said: ToOwner): void {
    if (said.kind === 'listening') this.isListening = true;
    if (said.kind === 'closed') this.isClosed = true;
    this.#onSaid(said); // First, so that who has asked finds it done.
    if (said.kind === 'held') this.#answers.get(`hold ${said.turn}`)?.();
    if (said.kind === 'told' && said.turn !== undefined) this.#answers.get(`tell ${said.turn}`)?.();
  }
}
