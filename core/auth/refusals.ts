import { Counter, type Registry } from '../observe/prometheus.ts';
import type { Logger } from 'pino';
import type { Clock } from '../contracts/clock.ts';

/**
 * Why credentials were refused. `missing`: there were none. `malformed`: not of a form that is taken. `unknown`: nobody
 * has them. `expired`: of somebody, once. `claims`: not for us, not from that issuer, or not yet. `forbidden`: good, and
 * they do not allow it. `issuer`: its keys could not be had.
 */
export const refusalReasons = ['missing', 'malformed', 'unknown', 'expired', 'claims', 'forbidden', 'issuer'] as const;
export type RefusalReason = (typeof refusalReasons)[number];

/** One line of the log a reason and this time, whoever tries however often. */
const silenceMs = 10_000;

/** Counts and logs what was refused, and never what was shown. */
export class Refusals {
  readonly #counter: Counter<'reason'>;
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #told = new Map<RefusalReason, { at: number; since: number }>();

  constructor(registry: Registry, logger: Logger, clock: Clock) {
    this.#logger = logger;
    this.#clock = clock;
    this.#counter = new Counter({
      name: 'millrace_auth_failures_total',
      help: 'Requests refused for their credentials, by reason.',
      labelNames: ['reason'],
      registers: [registry],
    });
    // From the start, so that an alert on an increase sees the first one.
    for (const reason of refusalReasons) this.#counter.inc({ reason }, 0);
  }

  /** `place`: the route or the function; `principal`: whose credentials they are, where that is known. */
  count(reason: RefusalReason, place: string, principal?: string): void {
    this.#counter.inc({ reason });
    if (reason === 'missing') return; // Every browser and every client that has yet to ask.
    const now = this.#clock.monotonic();
    const told = this.#told.get(reason);
    if (told && now - told.at < silenceMs) {
      told.since++;
      return;
    }
    this.#told.set(reason, { at: now, since: 0 });
    this.#logger.warn({ reason, place, principal, unlogged: told?.since ?? 0 }, 'credentials were refused');
  }
}
