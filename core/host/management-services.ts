import type {
  ConnectionStats,
  ConnectorStats,
  DeploymentServices,
  ManagementServices,
  Readiness,
} from '../api/services.ts';
import { deployTarget } from '../config/deployments.ts';
import type { Problem } from '../config/problem.ts';
import { shownConfig, withoutSecrets } from '../config/redact.ts';
import type { Config } from '../config/schema.ts';
import { didYouMean } from '../config/suggest.ts';
import type { Clock } from '../contracts/clock.ts';
import type { Triggered } from '../contracts/connector.ts';
import type { Invocations } from '../contracts/definition.ts';
import { MillraceError } from '../contracts/errors.ts';
import { createId } from '../delivery/ids.ts';
import type { Fronts } from '../fronts/fronts.ts';
import type { Catalog } from '../functions/catalog.ts';
import type { Scaler } from '../functions/scaler.ts';
import type { Events } from '../observe/events.ts';
import type { Meter } from '../observe/meter.ts';
import type { RecentInvocations } from '../observe/recent-invocations.ts';
import type { PluginInstance } from './instance.ts';
import type { Plugins, RunningConnection, RunningConnector } from './plugins.ts';

/** The parts of the gateway that the management API works on. */
export interface ManagedParts {
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly events: Events;
  readonly meter: Meter;
  readonly plugins: Plugins;
  readonly invocations: Invocations;
  readonly recent: RecentInvocations;
  readonly deployments: DeploymentServices;
  readonly callers: ManagementServices['callers'];
  readonly scaler: Scaler;
  /** The processes in front of this one. */
  fronts(): Fronts | undefined;
  /** As the files say. */
  declared(): Config;
  /** With the functions that were deployed through the API, and what was found to say of the files. */
  inForce(): { readonly config: Config; readonly findings: readonly Problem[] };
  isReady(): boolean;
}

/** What the management API is given of the gateway. */
export function managementServices(parts: ManagedParts): ManagementServices {
  const { callers, catalog, clock, deployments, events, invocations, meter, plugins, recent, scaler } = parts;
  return {
    queues: plugins.queues,
    invocations,
    catalog,
    namespace: parts.declared().gateway.namespace,
    callers,
    deployments,
    logs: plugins.logs,
    secrets: () => {
      const target = deployTarget(parts.declared());
      return target && plugins.providers.get(target.name)?.secrets;
    },
    scale: (name, replicas) => scaler.scale(name, replicas),
    alert: (name, firing) => scaler.alert(name, firing),
    load: (name) => scaler.load(name),
    events: events.all,
    invocationCount: (name) => meter.invocationCount(name),
    attempts: (name) => meter.attempts(name),
    recent: (filter) => recent.list(filter),
    configuration: () => {
      const { config, findings } = parts.inForce();
      return { configuration: shownConfig(config), findings };
    },
    nextId: () => createId(clock.now()),
    waitingRooms: () =>
      catalog.list().map(({ name, slots }) => ({
        function: name,
        waiting: slots.waiting + slots.held,
        running: slots.running + (parts.fronts()?.running(name) ?? 0),
        oldestAgeMs: slots.oldestAgeMs(),
      })),
    workQueues: () =>
      [...plugins.providers].flatMap(([provider, plugin]) =>
        (plugin.workQueues?.() ?? []).map((stats) => ({ ...stats, provider })),
      ),
    connectors: () =>
      plugins.instances
        .filter(({ type }) => type === 'connector')
        .map((instance) => connectorView(instance, plugins.connectors, parts.fronts()))
        .map(plainly),
    connections: () => connectionsOf(plugins).map(plainly),
    trigger: (name, slots) => trigger(plugins.connectors, name, slots),
    isReady: () => {
      const draining = drainingQueues(plugins);
      const failed = plugins
        .failed()
        .map(({ name, kind, error }) => ({ name, kind, error: plain(error ?? 'unknown') }));
      return { ready: parts.isReady() && failed.length === 0 && draining.length === 0, failed, draining };
    },
  };

  function plain(text: string): string {
    return withoutSecrets(text, parts.declared());
  }

  /** The words of a client library may hold what it was given. */
  function plainly<Stats extends { readonly lastError?: string | undefined }>(stats: Stats): Stats {
    return stats.lastError === undefined ? stats : { ...stats, lastError: plain(stats.lastError) };
  }
}

export function connectionsOf({ instances, connections }: Plugins): readonly ConnectionStats[] {
  return instances.filter(({ type }) => type === 'connection').map((one) => connectionView(one, connections));
}

function drainingQueues({ instances, queues }: Plugins): Readiness['draining'] {
  return instances
    .filter(({ type }) => type === 'queue')
    .flatMap((instance) => {
      const reason = instance.attempt(() => queues.get(instance.name)?.draining?.());
      return reason === undefined ? [] : [{ name: instance.name, kind: instance.kind, reason }];
    });
}

async function trigger(
  connectors: readonly RunningConnector[],
  name: string,
  slots: { from: number; to: number } | undefined,
): Promise<readonly Triggered[]> {
  const running = connectors.find(({ instance }) => instance.name === name && instance.state === 'running');
  if (!running) {
    const known = connectors.map(({ instance }) => instance.name);
    throw new MillraceError('connector.unknown', `no connector "${name}" is running${didYouMean(name, known)}`);
  }
  const { connector, instance } = running;
  const own = connector.trigger?.bind(connector);
  if (own) return instance.within(() => own(slots));
  const message = `connector "${name}" is of kind ${instance.kind}, which goes by no clock`;
  throw new MillraceError('request.conflict', message);
}

/** A connector as `/system/connectors` shows it. */
function connectorView(
  instance: PluginInstance,
  connectors: readonly RunningConnector[],
  fronts: Fronts | undefined,
): ConnectorStats {
  const inFront = fronts?.connector === instance.name ? fronts : undefined;
  const running = connectors.find((candidate) => candidate.instance === instance);
  const health = running && instance.attempt(() => running.connector.health());
  return {
    name: instance.name,
    kind: instance.kind,
    state: instance.state === 'running' ? (health?.state ?? instance.state) : instance.state,
    inFlight: (running?.inFlight ?? 0) + (inFront?.inFlight ?? 0),
    credit: running?.credit.limit ?? 0,
    lag: health?.lag,
    lastError: instance.error ?? health?.lastError,
    reconnects: health?.reconnects ?? 0,
    settled: (running?.settled ?? 0) + (inFront?.settled ?? 0),
  };
}

/** A connection as `/system/connections`, `/readyz` and the metrics show it. */
function connectionView(
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
