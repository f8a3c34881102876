import type { Clock } from '../../core/contracts/clock.ts';
import type { Connection } from '../../core/contracts/connection.ts';
import type { PluginHost } from '../../core/contracts/definition.ts';
import { pluginHost } from '../../core/testing/plugin-host.ts';

/**
 * A host of one plugin instance that logs nothing and counts nothing; failures are collected. `connection`: the started
 * one that the plugin works over.
 */
export function quietHost(
  clock: Clock,
  baseFolder = '/',
  connection?: Connection,
): PluginHost & { readonly failures: unknown[] } {
  return pluginHost({ clock, baseFolder, connection });
}

/** The wall clock, moved on by hand. */
export function movableClock(): Clock & { readonly advance: (ms: number) => void } {
  const start = Date.UTC(2026, 0, 1);
  let passed = 0;
  return {
    now: () => start + passed,
    monotonic: () => passed,
    advance: (ms) => {
      passed += ms;
    },
  };
}
