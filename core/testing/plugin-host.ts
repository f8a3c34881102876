import { pino } from 'pino';
import { type Clock, systemClock } from '../contracts/clock.ts';
import type { Connection } from '../contracts/connection.ts';
import type { PluginHost, ProviderHost } from '../contracts/definition.ts';
import type { FunctionStatus } from '../contracts/provider.ts';

export interface PluginHostParts {
  readonly clock?: Clock;
  /** Relative paths are meant from there; `/` unless it is said. */
  readonly baseFolder?: string;
  /** Started; for a plugin that works over one. */
  readonly connection?: Connection | undefined;
}

/** A host of one queue, store or connection, called `test`. It logs nothing and counts nothing; failures are collected. */
export function pluginHost({ clock = systemClock, baseFolder = '/', connection }: PluginHostParts = {}): PluginHost & {
  readonly failures: unknown[];
} {
  const failures: unknown[] = [];
  return {
    name: 'test',
    logger: pino({ level: 'silent' }),
    clock,
    metrics: { counter: () => ({ inc: () => {} }), gauge: () => ({ set: () => {} }) },
    signal: new AbortController().signal,
    baseFolder,
    fail: (error) => failures.push(error),
    failures,
    // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- as the contract has it.
    connection: <Kind extends Connection>() => {
      if (!connection) throw new Error('pluginHost was given no connection');
      return connection as Kind;
    },
  };
}

export interface LogLine {
  readonly function: string;
  readonly instance: string;
  readonly text: string;
  readonly callId?: string | undefined;
}

export interface TrialProviderHost extends ProviderHost {
  readonly statuses: FunctionStatus[];
  readonly logs: LogLine[];
  readonly failures: readonly unknown[];
}

/** A provider's host that keeps what it is told. */
export function providerHost(parts: PluginHostParts = {}): TrialProviderHost {
  const statuses: FunctionStatus[] = [];
  const logs: LogLine[] = [];
  return {
    ...pluginHost(parts),
    statuses,
    logs,
    report: (status) => statuses.push(status),
    functionLog: (line) => logs.push(line),
  };
}
