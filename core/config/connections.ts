import type { PluginDefinition } from '../contracts/definition.ts';
import { mapEntries } from './entries.ts';
import type { Findings } from './findings.ts';
import { warning } from './lint.ts';
import { problem } from './issues.ts';
import type { Problem } from './problem.ts';
import type { PluginConfig } from './schema.ts';
import { didYouMean } from './suggest.ts';

/**
 * The name of the connection that a plugin of this definition works over: the one that its settings name, or the only
 * one of its kind. Undefined where it needs none, and where there is none to be used, which is told. `declared`: the
 * `connections` of the file as they stand there, since what is wrong with one's settings has been told already.
 */
export function connectionOf(
  { type, kind: user, connection: kind }: PluginDefinition,
  entry: Readonly<Record<string, unknown>>,
  at: readonly string[],
  declared: unknown,
  { source, problems }: Findings,
): string | undefined {
  if (kind === undefined) return undefined;
  const named = entry['connection'];
  if (named !== undefined && typeof named !== 'string') return undefined; // The plugin's schema says so.
  const all = mapEntries(declared);
  const kindOf = new Map(all.map(([name, connection]) => [name, connection['kind']]));
  const fitting = all.filter(([, connection]) => connection['kind'] === kind).map(([name]) => name);
  const tell = (path: readonly string[], text: string): undefined => {
    problems.push(problem(path, text, source));
  };
  if (named === undefined) {
    if (fitting.length === 1) return fitting[0];
    const wanted = `a ${type} of kind "${user}" works over a connection of kind "${kind}"`;
    if (fitting.length > 1) return tell(at, `${wanted}: say which by "connection": ${fitting.join(', ')}`);
    return tell(at, `${wanted}, and there is none: add one to "connections"`);
  }
  const path = [...at, 'connection'];
  const found = kindOf.get(named);
  if (found === kind) return named;
  const known = `; of kind "${kind}": ${fitting.join(', ') || 'none'}`;
  if (!kindOf.has(named)) return tell(path, `no connection "${named}"${didYouMean(named, fitting) || known}`);
  // The root schema tells of a kind that is missing or no word.
  if (typeof found !== 'string') return undefined;
  const fit = fitting.join(', ') || 'none is there';
  return tell(path, `connection "${named}" is of kind "${found}", expected one of kind "${kind}": ${fit}`);
}

/**
 * Connections that nothing names. A warning, no error: who takes a queue out for a while should not have to take its
 * broker out too, and who writes the connection first may try it with `millrace check --connect`.
 */
export function unusedConnections(
  connections: Iterable<string>,
  users: Iterable<PluginConfig>,
  { source }: Pick<Findings, 'source'>,
): Problem[] {
  const used = new Set([...users].map(({ connection }) => connection));
  return [...connections]
    .filter((name) => !used.has(name))
    .map((name) => {
      const text = 'nothing uses this connection; it is dialled all the same, and must be there';
      return warning(['connections', name], 'unused-connection', text, source);
    });
}
