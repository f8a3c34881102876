import { type buildConnector, Client } from 'undici';
import type { Clock } from '../../../core/contracts/clock.ts';
import type { ProbeConfig } from './config.ts';

export interface ProbeTarget {
  /** Scheme, host and port. */
  readonly origin: string;
  readonly connect: buildConnector.connector;
  readonly clock: Clock;
  /** Called when `passing` or `told` has changed. */
  readonly onChange: () => void;
}

/** Asks one upstream again and again, over a connection of its own: those of the calls may all be busy. */
export class Probe {
  /** Its word on whether the upstream may get calls. */
  passing: boolean;
  /** It knows; until then `passing` is what is assumed. */
  told: boolean;
  /** Monotonic ms: when it asks next. */
  next = 0;
  readonly #config: ProbeConfig;
  readonly #target: ProbeTarget;
  readonly #client: Client;
  readonly #stop = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  /** Answers of one kind in a row: good ones above 0, bad ones below. */
  #row = 0;

  constructor(config: ProbeConfig, target: ProbeTarget, assumed: boolean) {
    this.passing = assumed;
    this.told = assumed;
    this.#config = config;
    this.#target = target;
    this.#client = new Client(target.origin, { allowH2: false, connect: target.connect });
  }

  start(): void {
    void this.#ask();
  }

  stop(): void {
    this.#stop.abort();
    clearTimeout(this.#timer);
    void this.#client.destroy();
  }

  async #ask(): Promise<void> {
    const isGood = await this.#answersWell();
    if (this.#stop.signal.aborted) return;
    this.#judge(isGood);
    this.next = this.#target.clock.monotonic() + this.#config.interval;
    this.#timer = setTimeout(() => void this.#ask(), this.#config.interval);
  }

  async #answersWell(): Promise<boolean> {
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(this.#config.timeout)]);
    try {
      const { statusCode, body } = await this.#client.request({ path: this.#config.path, method: 'GET', signal });
      await body.dump({ limit: 64 * 1024 });
      return statusCode < 400;
    } catch {
      return false; // Whatever the reason, it is no good answer.
    }
  }

  #judge(isGood: boolean): void {
    const { failures, successes } = this.#config;
    this.#row = isGood ? Math.max(this.#row, 0) + 1 : Math.min(this.#row, 0) - 1;
    if (this.#row < successes && -this.#row < failures) return;
    const isNews = !this.told || this.passing !== isGood;
    this.passing = isGood;
    this.told = true;
    if (isNews) this.#target.onChange();
  }
}
