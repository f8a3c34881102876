import type { ConnectionStats, ConnectorStats } from '../api/services.ts';
import type { PluginInstance } from './instance.ts';
import type { RunningConnection, RunningConnector } from './plugins.ts';

/** A connector as `/system/connectors` shows it. */
export function connectorView(instance: PluginInstance, connectors: readonly RunningConnector[]): ConnectorStats {
  const running = connectors.find((candidate) => candidate.instance === instance);
  const health = running && instance.attempt(() => running.connector.health());
  return {
    name: instance.name,
    kind: instance.kind,
    state: instance.state === 'running' ? (health?.state ?? instance.state) : instance.state,
    inFlight: running?.inFlight ?? 0,
    credit: running?.credit.limit ?? 0,
    lag: health?.lag,
    lastError: instance.error ?? health?.lastError,
    reconnects: health?.reconnects ?? 0,
    settled: running?.settled ?? 0,
  };
}

/** A connection as `/system/connections`, `/readyz` and the metrics show it. */
export function connectionView(
  instance: PluginInstance,
  connections: ReadonlyMap<string, RunningConnection>,
): ConnectionStats {
  const running = connections.get(instance.name);
  const health = running && instance.attempt(() => running.connection.health());
  return {
    name: instance.name,
    kind: instance.kind,
    // `attempt` may have marked it failed just now.
    state: instance.state === 'running' ? (health?.state ?? instance.state) : instance.state,
    reconnects: health?.reconnects ?? 0,
    lastError: instance.error ?? health?.lastError,
  };
}
