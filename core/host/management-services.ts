import type { ConnectionStats, ManagementServices } from '../api/services.ts';
import { deployTarget } from '../config/deployments.ts';
import type { Config } from '../config/schema.ts';
import type { Clock } from '../contracts/clock.ts';
import { createId } from '../delivery/ids.ts';
import type { Catalog } from '../functions/catalog.ts';
import type { Scaler } from '../functions/scaler.ts';
import type { Events } from '../observe/events.ts';
import type { Meter } from '../observe/meter.ts';
import type { Plugins } from './plugins.ts';
import { connectorView } from './views.ts';

/** What the management API looks at. All of it is the gateway's. */
export interface ManagedParts {
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly events: Events;
  readonly meter: Meter;
  readonly plugins: Plugins;
  readonly scaler: Scaler;
  readonly namespace: string;
  /** As the files say, without what was deployed. */
  readonly declared: () => Config;
  readonly isReady: () => boolean;
  readonly connections: () => readonly ConnectionStats[];
}

type Others = 'callers' | 'deployments' | 'invocations' | 'trigger';

/** What the API needs, out of the gateway's parts. */
export function managementServices(
  { catalog, clock, events, meter, plugins, scaler, namespace, declared, isReady, connections }: ManagedParts,
  others: Pick<ManagementServices, Others>,
): ManagementServices {
  return {
    ...others,
    queues: plugins.queues,
    catalog,
    namespace,
    logs: plugins.logs,
    secrets: () => {
      const target = deployTarget(declared());
      return target && plugins.providers.get(target.name)?.secrets;
    },
    scale: (name, replicas) => scaler.scale(name, replicas),
    alert: (name, firing) => scaler.alert(name, firing),
    load: (name) => scaler.load(name),
    events: events.all,
    invocationCount: (name) => meter.invocationCount(name),
    nextId: () => createId(clock.now()),
    waitingRooms: () =>
      catalog.list().map(({ name, slots }) => ({
        function: name,
        waiting: slots.waiting + slots.held,
        running: slots.running,
        oldestAgeMs: slots.oldestAgeMs(),
      })),
    workQueues: () =>
      [...plugins.providers].flatMap(([provider, plugin]) =>
        (plugin.workQueues?.() ?? []).map((stats) => ({ ...stats, provider })),
      ),
    connectors: () =>
      plugins.instances
        .filter(({ type }) => type === 'connector')
        .map((instance) => connectorView(instance, plugins.connectors)),
    connections,
    isReady: () => ({
      ready: isReady() && plugins.failed().length === 0,
      failed: plugins.failed().map(({ name, kind, error }) => ({ name, kind, error: error ?? 'unknown' })),
    }),
  };
}
