import { providerHost, type TrialProviderHost } from '../../core/testing/plugin-host.ts';

export type { LogLine } from '../../core/testing/plugin-host.ts';
export type RecordingHost = TrialProviderHost;

/** A provider's host that keeps what it is told. */
export function recordingHost(baseFolder: string): RecordingHost {
  return providerHost({ baseFolder });
}
