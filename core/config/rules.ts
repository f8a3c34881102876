import { isIP } from 'node:net';
import { problem, type Source } from './issues.ts';
import type { Problem } from './problem.ts';
import type { Config, FunctionConfig } from './schema.ts';
import { didYouMean } from './suggest.ts';

/** What no single part can know: names that must resolve, and settings that do not go together. */
export function crossCheck(config: Config, source: Source): Problem[] {
  return [...listeners(config, source), ...functions(config, source), ...followers(config, source)];
}

function listeners({ gateway }: Config, source: Source): Problem[] {
  const { listen, management, auth } = gateway;
  const problems: Problem[] = [];
  if (listen.port !== 0 && listen.port === management.port) {
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

export function isLoopback(host: string): boolean {
  if (host === 'localhost') return true;
  return isIP(host) === 4 ? host.startsWith('127.') : host === '::1';
}

function functions(config: Config, source: Source): Problem[] {
  const queues = [...config.queues.keys()];
  const problems: Problem[] = [];
  for (const one of config.functions.values()) {
    const { queue } = one.policy;
    if (queues.includes(queue)) continue;
    const text = `no queue "${queue}"${didYouMean(queue, queues) || `; known: ${queues.join(', ') || 'none'}`}`;
    problems.push(problem([...pathOf(one, config), 'invoke', 'queue'], text, source));
  }
  for (const [name, { config: own }] of config.connectors) {
    // Connectors that run a function name it by this key.
    const target = (own as { readonly function?: unknown } | undefined)?.function;
    if (typeof target !== 'string') continue;
    const known = new Set(config.functions.keys());
    if (known.has(target) || known.has(`${target}.${config.gateway.namespace}`)) continue;
    const text = `no function "${target}"${didYouMean(target, shortNames(config))}`;
    problems.push(problem(['connectors', name, 'function'], text, source));
  }
  return problems;
}

/** onSuccess and onFailure must name functions, and must not lead back: that would run for ever. */
function followers(config: Config, source: Source): Problem[] {
  const problems: Problem[] = [];
  for (const one of config.functions.values()) {
    for (const kind of ['onSuccess', 'onFailure'] as const) {
      one.policy[kind].forEach((target, index) => {
        const path = [...pathOf(one, config), 'invoke', kind, index, 'function'];
        if (!config.functions.has(target)) {
          problems.push(problem(path, `no function "${target}"${didYouMean(target, shortNames(config))}`, source));
        } else if (reaches(config, target, one.name, new Set())) {
          problems.push(problem(path, `leads back to ${one.name}: it would run for ever`, source));
        }
      });
    }
  }
  return problems;
}

function reaches(config: Config, from: string, to: string, seen: Set<string>): boolean {
  if (from === to) return true;
  if (seen.has(from)) return false;
  seen.add(from);
  const policy = config.functions.get(from)?.policy;
  return [...(policy?.onSuccess ?? []), ...(policy?.onFailure ?? [])].some((next) => reaches(config, next, to, seen));
}

function shortNames({ functions: all, gateway }: Config): readonly string[] {
  const suffix = `.${gateway.namespace}`;
  return [...all.keys()].map((name) => (name.endsWith(suffix) ? name.slice(0, -suffix.length) : name));
}

/** Where the file has the function: with or without its namespace. */
function pathOf({ name }: FunctionConfig, { gateway }: Config): (string | number)[] {
  const suffix = `.${gateway.namespace}`;
  return ['functions', name.endsWith(suffix) ? name.slice(0, -suffix.length) : name];
}
