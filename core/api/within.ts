import { filter } from '../kit/rxjs.ts';
import { isWithin, type Reach } from '../auth/principal.ts';
import { namespaceOf } from '../kit/names.ts';
import type { FunctionSecrets } from '../contracts/deployment.ts';
import { MillraceError, missingFunction, missingNamespace } from '../contracts/errors.ts';
import type { DeadLetter, DeadLetterFilter, DeadLetterPage, DeadLetters } from '../contracts/queue.ts';
import type { DeploymentServices, ManagedQueue, ManagementServices } from './services.ts';

const none: DeadLetterPage = { items: [], cursor: undefined };
/** Read at once where the letters of other namespaces may be most of them. */
const pageSize = 100;

/**
 * The same services for a caller who may see some namespaces only: what is in others is not there. So no handler can
 * forget to ask, and what is added to `ManagementServices` has to be thought of here. Connections, connectors, the
 * gateway's own events and the configuration belong to no namespace; only who may see all of them sees those.
 */
export function servicesWithin(reach: Reach, services: ManagementServices): ManagementServices {
  if (reach === 'all') return services;
  const has = (lane: string): boolean => isWithin(reach, namespaceOf(lane));
  const { catalog, invocations } = services;
  return {
    queues: new Map([...services.queues].map(([name, queue]) => [name, queueWithin(queue, has)])),
    invocations: {
      find: async (id) => recordWithin(await invocations.find(id)),
      finished: async (...asked) => recordWithin(await invocations.finished(...asked)),
      cancel: async (id) => (recordWithin(await invocations.find(id)) ? invocations.cancel(id) : 'unknown'),
    },
    catalog: {
      list: () => catalog.list().filter(({ name }) => has(name)),
      get: (name) => entryWithin(catalog.get(name)),
    },
    events: services.events.pipe(filter(({ function: lane }) => lane !== undefined && has(lane))),
    namespace: services.namespace,
    deployments: deploymentsWithin(services.deployments, (namespace) => isWithin(reach, namespace)),
    logs: {
      lines: (name, ...asked) => (has(name) ? services.logs.lines(name, ...asked) : []),
      follow: (name, ...asked) => (has(name) ? services.logs.follow(name, ...asked) : () => undefined),
    },
    secrets: () => secretsWithin(services.secrets(), (namespace) => isWithin(reach, namespace)),
    scale: (name, replicas) => (has(name) ? services.scale(name, replicas) : Promise.reject(missingFunction(name))),
    alert: (name, firing) => (has(name) ? services.alert(name, firing) : Promise.reject(missingFunction(name))),
    load: (name) => (has(name) ? services.load(name) : Promise.reject(missingFunction(name))),
    waitingRooms: () => services.waitingRooms().filter((room) => has(room.function)),
    workQueues: () => services.workQueues().filter(({ name }) => has(name)),
    connections: () => [],
    connectors: () => [],
    trigger: (name) => Promise.reject(new MillraceError('connector.unknown', `no connector "${name}" is running`)),
    nextId: () => services.nextId(),
    isReady: () => services.isReady(),
    callers: services.callers,
    invocationCount: (name) => services.invocationCount?.(name) ?? 0,
    attempts: (name) => (has(name) ? services.attempts(name) : undefined),
    recent: (asked) => services.recent(asked).filter((seen) => has(seen.function)),
    configuration: () => undefined,
  };

  function recordWithin<Found extends { readonly lane: string }>(record: Found | undefined): Found | undefined {
    return record && has(record.lane) ? record : undefined;
  }

  function entryWithin<Found extends { readonly name: string }>(entry: Found | undefined): Found | undefined {
    return entry && has(entry.name) ? entry : undefined;
  }
}

/**
 * What is to be made in another namespace is refused whether or not it is there. Everything else about others is as if
 * they were not there.
 */
function deploymentsWithin(deployments: DeploymentServices, has: (namespace: string) => boolean): DeploymentServices {
  return {
    deploy: async (deployment, how) => {
      const { service, namespace } = deployment;
      if (has(namespace)) return deployments.deploy(deployment, how);
      throw how === 'update' ? missingFunction(`${service}.${namespace}`) : elsewhere(namespace);
    },
    remove: async (name) => {
      if (!has(namespaceOf(name))) throw missingFunction(name);
      return deployments.remove(name);
    },
    namespaces: () => deployments.namespaces().filter(({ name }) => has(name)),
    putNamespace: async (namespace, how) => {
      const { name } = namespace;
      if (has(name)) return deployments.putNamespace(namespace, how);
      throw how === 'update' ? missingNamespace(name) : elsewhere(name);
    },
    removeNamespace: async (name) => {
      if (!has(name)) throw missingNamespace(name);
      return deployments.removeNamespace(name);
    },
  };
}

function secretsWithin(
  secrets: FunctionSecrets | undefined,
  has: (namespace: string) => boolean,
): FunctionSecrets | undefined {
  return (
    secrets && {
      list: async (namespace) => (has(namespace) ? secrets.list(namespace) : []),
      create: async (secret, value) => {
        if (!has(secret.namespace)) throw elsewhere(secret.namespace);
        return secrets.create(secret, value);
      },
      update: async (secret, value) => has(secret.namespace) && secrets.update(secret, value),
      remove: async (secret) => has(secret.namespace) && secrets.remove(secret),
    }
  );
}

function elsewhere(namespace: string): MillraceError {
  return new MillraceError('request.forbidden', `insufficient permissions: not for namespace ${namespace}`);
}

function queueWithin(queue: ManagedQueue, has: (lane: string) => boolean): ManagedQueue {
  const guarded = (lane: string, act: (lane: string) => Promise<void>): Promise<void> =>
    has(lane) ? act(lane) : Promise.reject(new MillraceError('queue.unknown', 'no function has that queue'));
  return {
    durability: queue.durability,
    lanes: async () => (await queue.lanes()).filter(({ lane }) => has(lane)),
    pause: (lane) => guarded(lane, (one) => queue.pause(one)),
    resume: (lane) => guarded(lane, (one) => queue.resume(one)),
    deadLetters: lettersWithin(queue, has),
  };
}

function lettersWithin(queue: ManagedQueue, has: (lane: string) => boolean): DeadLetters {
  const { deadLetters } = queue;
  return {
    list,
    get: (id) => found(id),
    body: async (id) => ((await found(id)) ? deadLetters.body(id) : undefined),
    replay: async (id, options) => {
      const mayRun = options.to === undefined || has(options.to);
      return mayRun && (await found(id)) ? deadLetters.replay(id, options) : false;
    },
    purge,
  };

  async function found(id: string): Promise<DeadLetter | undefined> {
    const letter = await deadLetters.get(id);
    return letter && has(letter.lane) ? letter : undefined;
  }

  /** As many as a whole page would have, so that those of others leave no gaps to count. */
  async function list(asked: DeadLetterFilter, limit: number, cursor?: string): Promise<DeadLetterPage> {
    if (asked.lane !== undefined) return has(asked.lane) ? deadLetters.list(asked, limit, cursor) : none;
    const items: DeadLetter[] = [];
    let from = cursor;
    do {
      let page = await deadLetters.list(asked, Math.max(limit, pageSize), from);
      const past = page.items.filter(({ lane }) => has(lane))[limit - items.length];
      // A queue's cursor stands at the end of a page only, so the page is made to end before the first one too many.
      if (past) page = await deadLetters.list(asked, page.items.indexOf(past), from);
      items.push(...page.items.filter(({ lane }) => has(lane)));
      from = page.cursor;
    } while (from !== undefined && items.length < limit);
    return { items, cursor: from };
  }

  async function purge(asked: Parameters<DeadLetters['purge']>[0]): Promise<number> {
    if (asked.id !== undefined) return (await found(asked.id)) ? deadLetters.purge(asked) : 0;
    if (asked.lane !== undefined) return has(asked.lane) ? deadLetters.purge(asked) : 0;
    let purged = 0;
    for (const { lane } of await queue.lanes()) if (has(lane)) purged += await deadLetters.purge({ ...asked, lane });
    return purged;
  }
}
