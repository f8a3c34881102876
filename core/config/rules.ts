import { isIP } from 'node:net';
import { problem, type Source } from './issues.ts';
import { processesOf } from './processes.ts';
import type { Problem } from './problem.ts';
import type { Config, FunctionConfig } from './schema.ts';
import { didYouMean } from './suggest.ts';
import type { Path } from './tree.ts';

/** What the file says, beyond what became of it. */
export interface Declared {
  readonly source: Source;
  /** Where each function stands, by its full name; those with a mistake, which are not in the configuration, too. */
  readonly functionPaths: ReadonlyMap<string, Path>;
  /** Names of queues, of whatever is wrong with their settings. */
  readonly queues: readonly string[];
}

/** What no single part can know: names that must resolve, and settings that do not go together. */
export function crossCheck(config: Config, declared: Declared): Problem[] {
  return [
    ...listeners(config, declared),
    ...processes(config, declared),
    ...callers(config, declared),
    ...queuesOf(config, declared),
    ...targets(config, declared),
    ...circles(config, declared),
    ...repeatedFollowers(config, declared),
    ...batches(config, declared),
    ...replies(config, declared),
    ...deployments(config, declared),
    ...scaling(config, declared),
  ];
}

function listeners({ gateway }: Config, { source }: Declared): Problem[] {
  const { listen, management, auth } = gateway;
  const problems: Problem[] = [];
  if (listen.port !== 0 && listen.port === management.port && overlap(listen.host, management.host)) {
    const text = `port ${listen.port} is taken by gateway.listen`;
    problems.push(problem(['gateway', 'management', 'port'], text, source));
  }
  if (auth === 'none' && !isLoopback(listen.host)) {
    const text =
      `${listen.host} can be reached from other machines, and gateway.auth is none: anyone could use /system. ` +
      'Set gateway.auth.basic, or listen on 127.0.0.1';
    problems.push(problem(['gateway', 'listen', 'host'], text, source));
  }
  return problems;
}

/** A port can be shared, and a bound shared out, only where there is enough of it. */
function processes({ gateway }: Config, { source }: Declared): Problem[] {
  const count = processesOf(gateway.processes);
  if (count === 1) return [];
  if (process.platform === 'win32' || process.platform === 'darwin') {
    const text = `${count} processes cannot share a port on ${process.platform}: it has no SO_REUSEPORT that balances. Use 1`;
    return [problem(['gateway', 'processes'], text, source)];
  }
  return (['connections', 'connectionsPerAddress'] as const).flatMap((key) => {
    const text = `${gateway.limits.http[key]} cannot be shared out to ${count} processes (gateway.processes)`;
    const path = ['gateway', 'limits', 'http', key];
    return gateway.limits.http[key] < count ? [problem(path, text, source)] : [];
  });
}

/** A function that asks for what nobody can have is not called by anybody, which is what `event-only` says. */
function callers({ gateway, functions }: Config, { source, functionPaths }: Declared): Problem[] {
  if (gateway.auth !== 'none') return [];
  const text = 'takes a token, and gateway.auth is none: nobody has one. Set gateway.auth.tokens or basic';
  if (gateway.functions.auth === 'token') return [problem(['gateway', 'functions', 'auth'], text, source)];
  return [...functions.values()].flatMap(({ name, policy }) =>
    policy.auth === 'token' ? [problem([...(functionPaths.get(name) ?? []), 'auth'], text, source)] : [],
  );
}

const everywhere = new Set(['0.0.0.0', '::']);

function overlap(one: string, other: string): boolean {
  return one === other || everywhere.has(one) || everywhere.has(other) || (isLoopback(one) && isLoopback(other));
}

export function isLoopback(host: string): boolean {
  if (host === 'localhost') return true;
  return isIP(host) === 4 ? host.startsWith('127.') : host === '::1';
}

/** Every function's queue must be there, and must be able to do what the function asks of it. */
function queuesOf(config: Config, { source, functionPaths, queues }: Declared): Problem[] {
  const problems: Problem[] = [];
  for (const { name, policy } of config.functions.values()) {
    const at = [...(functionPaths.get(name) ?? []), 'invoke'];
    if (!queues.includes(policy.queue)) {
      const hint = didYouMean(policy.queue, queues) || `; known: ${queues.join(', ') || 'none'}`;
      problems.push(problem([...at, 'queue'], `no queue "${policy.queue}"${hint}`, source));
      continue;
    }
    const queue = config.queues.get(policy.queue);
    if (queue?.definition.type !== 'queue') continue;
    // Only what the file asks for: a default is a wish, not a demand.
    for (const [key, capability] of [
      [['priority'], 'priority'],
      [['result', 'store'], 'results'],
    ] as const) {
      const path = [...at, ...key];
      if (queue.definition.capabilities[capability] !== 'none' || !source.place(path)) continue;
      if (capability === 'results' && !policy.result.store) continue;
      const text = `queue "${policy.queue}" (${queue.kind}) has no ${capability}: see millrace plugins`;
      problems.push(problem(path, text, source));
    }
  }
  return problems;
}

/** What is deployed through the API needs a provider that can take it, just one, and a store that keeps it. */
function deployments({ gateway, providers, stores }: Config, { source }: Declared): Problem[] {
  const problems: Problem[] = [];
  const targets = [...providers.values()].filter(({ allowDeploy }) => allowDeploy);
  for (const [index, { name, kind, definition }] of targets.entries()) {
    const path = ['providers', name, 'allowDeploy'];
    if (definition.type === 'provider' && !definition.deployment) {
      problems.push(problem(path, `a provider of kind ${kind} takes no deployments`, source));
    }
    if (index > 0) {
      problems.push(problem(path, `provider "${targets[0]?.name}" takes deployments already: only one may`, source));
    }
  }
  const { store } = gateway.deployments;
  if (targets.length > 0 && !stores.has(store)) {
    const hint = didYouMean(store, [...stores.keys()]) || `; known: ${[...stores.keys()].join(', ') || 'none'}`;
    problems.push(problem(['gateway', 'deployments', 'store'], `no store "${store}"${hint}`, source));
  }
  return problems;
}

/** Asking for replicas of a provider that has none would be a wish that nobody hears. */
function scaling({ functions, providers }: Config, { source, functionPaths }: Declared): Problem[] {
  return [...functions.values()].flatMap(({ name, provider, policy }) => {
    const plugin = providers.get(provider);
    if (!policy.scale || plugin?.definition.type !== 'provider') return [];
    const { scaling: can } = plugin.definition;
    const at = [...(functionPaths.get(name) ?? []), 'scale'];
    if (!can) {
      // Labels come with functions that ran elsewhere, and are no demand.
      if (!source.place(at)) return [];
      return [problem(at, `provider "${provider}" (${plugin.kind}) has no replicas to scale`, source)];
    }
    if (policy.scale.type !== 'cpu' || can.cpu) return [];
    const text = `provider "${provider}" (${plugin.kind}) does not know what its functions use of the CPU`;
    return [problem([...at, 'type'], text, source)];
  });
}

/** Outcomes must have somewhere to go. */
function replies({ connectors, connections }: Config, { source }: Declared): Problem[] {
  return [...connectors].flatMap(([name, { connection: own, messages }]) => {
    if (!messages?.reply) return [];
    const { connection = own } = messages.reply;
    const definition = connections.get(connection ?? '')?.definition;
    // One that has mistakes of its own is told about there.
    if (definition?.type === 'connection' && definition.publishes) return [];
    const known = [...connections.keys()];
    const text = definition
      ? `nothing can be published over a connection of kind ${definition.kind}`
      : connection === undefined
        ? `no connection is named, and the connector has none${known.length > 0 ? `; known: ${known.join(', ')}` : ''}`
        : `no connection "${connection}"${didYouMean(connection, known)}`;
    return [problem(['connectors', name, 'reply', 'connection'], text, source)];
  });
}

/** A batch that could never be full would always wait for its window. */
function batches({ connectors }: Config, { source }: Declared): Problem[] {
  return [...connectors].flatMap(([name, { credit, messages }]) => {
    const size = messages?.batch?.size;
    if (size === undefined || size <= credit) return [];
    const text = `a batch of ${size} needs as many unsettled messages, and credit is ${credit}: raise credit, or lower size`;
    return [problem(['connectors', name, 'batch', 'size'], text, source)];
  });
}

/** Functions that are named must be there. */
function targets(config: Config, { source, functionPaths }: Declared): Problem[] {
  const { namespace } = config.gateway;
  const suffix = `.${namespace}`;
  const short = (name: string): string => (name.endsWith(suffix) ? name.slice(0, -suffix.length) : name);
  const problems: Problem[] = [];
  const check = (target: string, path: Path): void => {
    if (functionPaths.has(target) || functionPaths.has(`${target}${suffix}`)) return;
    const hint = didYouMean(short(target), [...functionPaths.keys()].map(short));
    problems.push(problem(path, `no function "${short(target)}"${hint}`, source));
  };
  for (const [name, { config: own, messages }] of config.connectors) {
    for (const { target, path } of [...namedFunctions(own), ...namedFunctions(messages)])
      check(target, ['connectors', name, ...path]);
  }
  for (const one of config.functions.values()) {
    for (const { target, path } of followersOf(one, functionPaths)) check(target, path);
  }
  return problems;
}

/** Connectors that run functions name them by the key `function`: their own, or that of each item of a list; or several by `functions`. */
function namedFunctions(own: unknown): { target: string; path: Path }[] {
  const found: { target: string; path: Path }[] = [];
  const look = (value: unknown, path: Path): void => {
    const target = (value as { readonly function?: unknown } | null | undefined)?.function;
    if (typeof target === 'string') found.push({ target, path: [...path, 'function'] });
  };
  look(own, []);
  for (const [key, value] of Object.entries(own ?? {})) {
    if (!Array.isArray(value)) continue;
    value.forEach((item: unknown, index) => {
      if (key === 'functions' && typeof item === 'string') found.push({ target: item, path: [key, index] });
      else look(item, [key, index]);
    });
  }
  return found;
}

/** Functions that lead back to themselves would run for ever. Each circle is told once, where it closes. */
function circles(config: Config, { source, functionPaths }: Declared): Problem[] {
  const problems: Problem[] = [];
  const done = new Set<string>();
  for (const start of config.functions.values()) {
    // A walk without recursion: a chain may have as many functions as the file has lines.
    const open = new Set<string>();
    const walk: { name: string; next: Iterator<Follower> }[] = [];
    const enter = (one: FunctionConfig): void => {
      open.add(one.name);
      walk.push({ name: one.name, next: followersOf(one, functionPaths)[Symbol.iterator]() });
    };
    if (!done.has(start.name)) enter(start);
    for (let step = walk.at(-1); step; step = walk.at(-1)) {
      const { value, done: ended } = step.next.next();
      if (ended) {
        open.delete(step.name);
        done.add(step.name);
        walk.pop();
        continue;
      }
      const { target, path } = value;
      const follower = config.functions.get(target);
      if (open.has(target)) problems.push(problem(path, `leads back to ${target}: it would run for ever`, source));
      else if (follower && !done.has(target)) enter(follower);
    }
  }
  return problems;
}

/** What follows from an outcome is told apart by its function, so one that is named twice would be run once. */
function repeatedFollowers({ functions }: Config, { source, functionPaths }: Declared): Problem[] {
  return [...functions.values()].flatMap((one) => {
    const followers = followersOf(one, functionPaths);
    const isRepeated = ({ kind, target }: Follower, index: number): boolean =>
      followers.findIndex((other) => other.kind === kind && other.target === target) < index;
    return followers
      .filter(isRepeated)
      .map(({ kind, target, path }) => problem(path, `${kind} names ${target} twice`, source));
  });
}

const none: readonly Follower[] = [];

interface Follower {
  readonly kind: 'onSuccess' | 'onFailure';
  readonly target: string;
  readonly path: Path;
}

function followersOf({ name, policy }: FunctionConfig, functionPaths: ReadonlyMap<string, Path>): readonly Follower[] {
  if (policy.onSuccess.length + policy.onFailure.length === 0) return none; // Most, and there may be thousands.
  return (['onSuccess', 'onFailure'] as const).flatMap((kind) =>
    policy[kind].map((target, index) => ({
      kind,
      target,
      path: [...(functionPaths.get(name) ?? []), 'invoke', kind, index, 'function'],
    })),
  );
}
