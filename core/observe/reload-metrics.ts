import { Counter, Gauge, type Registry } from './prometheus.ts';
import type { Clock } from '../contracts/clock.ts';

/** `invalid`: it has mistakes. `needs-restart`: a running gateway cannot do it. `failed`: something did not start. */
export const reloadResults = ['ok', 'invalid', 'needs-restart', 'failed'] as const;
export type ReloadOutcome = (typeof reloadResults)[number];

/** Metrics of reloads. Returns what counts one. */
export function reloadMetrics(registry: Registry, clock: Clock): (result: ReloadOutcome) => void {
  const registers = [registry];
  const reloads = new Counter({
    name: 'millrace_config_reloads_total',
    help: 'Reloads of the configuration that were asked for, by what came of them.',
    labelNames: ['result'],
    registers,
  });
  const last = new Gauge({
    name: 'millrace_config_last_reload_seconds',
    help: 'When the configuration that is in force was taken up: seconds since 1970.',
    registers,
  });
  // From the start, so that an alert on an increase sees the first one.
  for (const result of reloadResults) reloads.inc({ result }, 0);
  last.set(clock.now() / 1000);
  return (result) => {
    reloads.inc({ result });
    if (result === 'ok') last.set(clock.now() / 1000);
  };
}
