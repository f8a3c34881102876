import type { ConnectorDefinition, LintRule, PluginDefinition } from '../contracts/definition.ts';
import { qualified } from '../kit/names.ts';
import { formatDuration } from './units.ts';
import { problem, type Source } from './issues.ts';
import { isLoopback } from './rules.ts';
import type { Problem } from './problem.ts';
import type { Config, ConnectorConfig, FunctionConfig } from './schema.ts';
import type { Path } from './tree.ts';

/** What is right and yet seldom meant. Codes are stable; docs/lint.md has a section for each. Plugins add their own. */
export const lintRules = {
  'secret-in-file': {
    summary: 'A secret stands in the file.',
    why: 'Whoever can read the file, its backups or its history has it. `${file:/run/secrets/NAME}` and `${VAR}` keep it out.',
  },
  'unused-connection': {
    summary: 'Nothing uses a connection.',
    why: 'It is dialled all the same, and the gateway does not start without its broker. Remove it, or name it where it is meant.',
  },
  'empty-include': {
    summary: 'A pattern of `include` matches no file.',
    why: 'What was to be included is not there: a wrong folder, or a file that has been moved. Relative to the file that says it.',
  },
  'volatile-queue': {
    summary: 'Messages of a broker end in a queue that forgets them.',
    why:
      'The broker is told that a message is safe when the queue has it, or when it failed and went there; a queue of kind ' +
      '`memory` loses it with the process. Give the function a `queue` that is durable.',
  },
  'same-consumer': {
    summary: 'Two connectors are one consumer to their broker.',
    why:
      'They share its messages between them, so that each function gets only some of them, or throw each other out. Give each ' +
      'a group, durable or client id of its own; for one message to several functions there is `functions`.',
  },
  'reply-to-itself': {
    summary: 'What a connector publishes comes back to it.',
    why: 'Each reply would be a message that is replied to, for ever. Publish to a place that its patterns do not match.',
  },
  'expired-token': {
    summary: 'A token has expired.',
    why: 'Whoever has it is answered 401. Remove it, or give it another `expires`.',
  },
  'issuer-without-tls': {
    summary: 'The keys of an issuer are fetched over plain HTTP.',
    why:
      'Whoever is between the two may put a key of his own among them, and then make tokens for himself. Use `https`; for an ' +
      'authority of your own, NODE_EXTRA_CA_CERTS names its certificate.',
  },
  'outlasts-drain': {
    summary: 'A function may run for longer than a stop waits.',
    why:
      'At a stop or a restart what still runs after `gateway.shutdown.drain` is ended and run again elsewhere. Raise `drain` ' +
      '(and the grace period of whoever stops the gateway), or lower the `timeout`.',
  },
} as const satisfies Record<string, LintRule>;

export type LintCode = keyof typeof lintRules;

/** A problem that is none yet: `code` names the rule. */
export function warning(path: Path, code: LintCode, message: string, source: Source): Problem {
  return { ...problem(path, message, source), severity: 'warning', code };
}

/** Every rule, of the plugins too, for the page. */
export function allLintRules(definitions: readonly PluginDefinition[]): Readonly<Record<string, LintRule>> {
  const theirs = definitions.flatMap((one) => (one.type === 'connector' && one.lint ? [one.lint.rules] : []));
  return Object.assign({}, lintRules, ...theirs) as Record<string, LintRule>;
}

/** The rules that look at the whole. */
export function lint(config: Config, source: Source): Problem[] {
  return [
    ...lintAuth(config, source),
    ...[...config.functions.values()].flatMap((one) => {
      const { drain } = config.gateway.shutdown;
      if (one.policy.timeoutMs <= drain) return [];
      const path = pathOf(config, one.name, source);
      if (!path) return []; // Only what the file asks for: a default is a wish, not a demand.
      const [timeout, wait] = [one.policy.timeoutMs, drain].map(formatDuration);
      return [warning(path, 'outlasts-drain', `${timeout}, and a stop waits for ${wait}`, source)];
    }),
    ...[...config.connectors.values()].flatMap((one) => lintConnector(one, config, source)),
    ...sameConsumers(config, source),
  ];
}

function lintAuth({ gateway: { auth } }: Config, source: Source): Problem[] {
  if (auth === 'none') return [];
  const { tokens = [], oidc = [] } = auth;
  const at = ['gateway', 'auth'];
  return [
    ...tokens.flatMap(({ name, expiresAt = Infinity }, index) =>
      expiresAt > Date.now()
        ? []
        : [warning([...at, 'tokens', index, 'expires'], 'expired-token', `"${name}" has expired`, source)],
    ),
    ...oidc.flatMap(({ issuer, jwksUri = issuer }, index) =>
      new URL(jwksUri).protocol === 'https:' || isLoopback(new URL(jwksUri).hostname)
        ? []
        : [warning([...at, 'oidc', index], 'issuer-without-tls', `${jwksUri} is plain HTTP`, source)],
    ),
  ];
}

function pathOf({ gateway }: Config, name: string, source: Source): Path | undefined {
  const short = name.endsWith(`.${gateway.namespace}`) ? name.slice(0, -gateway.namespace.length - 1) : name;
  return [short, name].map((each) => ['functions', each, 'invoke', 'timeout']).find((path) => source.place(path));
}

function lintConnector(connector: ConnectorConfig, config: Config, source: Source): Problem[] {
  const { name, messages, definition } = connector;
  if (!messages || definition.type !== 'connector') return [];
  const at = ['connectors', name];
  const problems: Problem[] = [];
  const functions = targetsOf(connector, config);
  const volatile = functions.find(({ policy }) => isVolatile(config, policy.queue));
  if (volatile) {
    const text = `${volatile.name} has the queue "${volatile.policy.queue}", which forgets what it was given`;
    problems.push(warning(at, 'volatile-queue', text, source));
  }
  const { reply } = messages;
  const isOwnConnection = reply && (reply.connection ?? connector.connection) === connector.connection;
  const pattern = isOwnConnection ? topicsOf(connector).find((each) => matches(definition, each, reply.to)) : undefined;
  if (pattern !== undefined) {
    problems.push(warning([...at, 'reply', 'to'], 'reply-to-itself', `"${pattern}" takes it again`, source));
  }
  const longestTimeoutMs = Math.max(0, ...functions.map(({ policy }) => policy.timeoutMs));
  for (const { path, code, message } of definition.lint?.check(connector.config, {
    ack: messages.ack,
    longestTimeoutMs,
  }) ?? []) {
    problems.push({ ...problem([...at, ...path], message, source), severity: 'warning', code });
  }
  return problems;
}

function targetsOf({ messages }: ConnectorConfig, { functions, gateway }: Config): FunctionConfig[] {
  const { function: one, functions: several = one === undefined ? [] : [one], annotation } = messages ?? {};
  const all = [...functions.values()];
  if (annotation !== undefined) return all.filter(({ annotations }) => annotations[annotation] !== undefined);
  const names = new Set(several.map((each) => qualified(each, gateway.namespace)));
  return all.filter(({ name }) => names.has(name));
}

function isVolatile({ queues }: Config, name: string): boolean {
  const definition = queues.get(name)?.definition;
  return definition?.type === 'queue' && definition.capabilities.durable === 'none';
}

function topicsOf({ definition, config }: ConnectorConfig): readonly string[] {
  return definition.type === 'connector' ? (definition.topics?.(config) ?? []) : [];
}

function matches({ messages }: ConnectorDefinition, pattern: string, topic: string): boolean {
  return messages?.matches(pattern, topic) ?? false;
}

function sameConsumers({ connectors }: Config, source: Source): Problem[] {
  const first = new Map<string, string>();
  return [...connectors.values()].flatMap(({ name, kind, enabled, connection, definition, config }) => {
    const consumer = definition.type === 'connector' ? definition.consumer?.(config) : undefined;
    if (consumer === undefined || !enabled) return [];
    const key = JSON.stringify([kind, connection, consumer]);
    const other = first.get(key);
    if (other === undefined) {
      first.set(key, name);
      return [];
    }
    return [warning(['connectors', name], 'same-consumer', `it and "${other}" are both ${consumer}`, source)];
  });
}
