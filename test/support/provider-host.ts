import type { ProviderHost } from '../../core/contracts/definition.ts';
import { systemClock } from '../../core/contracts/clock.ts';
import type { FunctionStatus } from '../../core/contracts/provider.ts';
import { quietHost } from './quiet-host.ts';

export interface LogLine {
  readonly function: string;
  readonly instance: string;
  readonly text: string;
  readonly callId?: string | undefined;
}

export interface RecordingHost extends ProviderHost {
  readonly statuses: FunctionStatus[];
  readonly logs: LogLine[];
  readonly failures: readonly unknown[];
}

/** A provider's host that keeps what it is told. */
export function recordingHost(baseFolder: string): RecordingHost {
  const statuses: FunctionStatus[] = [];
  const logs: LogLine[] = [];
  return {
    ...quietHost(systemClock, baseFolder),
    statuses,
    logs,
    report: (status) => statuses.push(status),
    functionLog: (line) => logs.push(line),
  };
}
