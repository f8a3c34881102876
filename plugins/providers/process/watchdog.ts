import { parseDuration } from '../../../core/config/units.ts';
import { MillraceError } from '../../../core/contracts/errors.ts';

/** How a function is run: a process for each call, its answer whole or as it comes; or a server that is called. */
export type ProcessMode = 'fork' | 'streaming' | 'http';

/** What the environment of a function says to OpenFaaS' watchdogs. */
export interface WatchdogWords {
  readonly command?: string | undefined;
  readonly mode?: ProcessMode | undefined;
  readonly upstreamUrl?: string | undefined;
  /** Calls at once in one replica; more are refused. 0: any number. */
  readonly maxInflight?: number | undefined;
  /** ms that a call may take; 0 is no limit. */
  readonly execMs?: number | undefined;
  /** ms that the body of a request may take to come. */
  readonly readMs?: number | undefined;
  /** ms from the beginning of a call to the end of its answer. */
  readonly writeMs?: number | undefined;
  readonly contentType?: string | undefined;
  /** What a process says on stderr belongs to its answer. */
  readonly combineOutput?: boolean | undefined;
  /** The answers are logged. */
  readonly writeDebug?: boolean | undefined;
  /** Log lines begin with the stream that they come from. */
  readonly prefixLogs?: boolean | undefined;
  /** The request is told in variables. */
  readonly cgiHeaders?: boolean | undefined;
  /** ms between two looks whether a server is well. */
  readonly healthMs?: number | undefined;
  readonly readyPath?: string | undefined;
}

const modes: Readonly<Record<string, ProcessMode>> = {
  fork: 'fork',
  serializing: 'fork',
  streaming: 'streaming',
  http: 'http',
};

/** What a function relies on and would not get: silence would be worse than a refusal, above all about `jwt_auth`. */
const refused: Readonly<Record<string, string>> = {
  jwt_auth: 'the watchdog would ask callers for a token, Millrace does not',
  marshal_request: 'requests are not marshalled to JSON',
};

/**
 * Reads them, by the names and with the meaning of classic-watchdog and of-watchdog; the latter's own names
 * (`function_process`, `http_upstream_url`) go first, as there. What is not set is left out: the standard is the
 * gateway's own policy.
 *
 * @throws MillraceError for a value that the watchdog would silently take for its standard one.
 */
export function watchdogWords(env: Readonly<Record<string, string>>): WatchdogWords {
  for (const [name, why] of Object.entries(refused)) {
    if (flag(env, name)) throw new MillraceError('config.invalid', `env ${name} is not supported: ${why}`);
  }
  const isSerializing = env['mode'] === 'serializing';
  return {
    command: word(env, 'function_process') ?? word(env, 'fprocess'),
    mode: modeOf(env),
    upstreamUrl: word(env, 'http_upstream_url') ?? word(env, 'upstream_url'),
    maxInflight: count(env, 'max_inflight'),
    execMs: milliseconds(env, 'exec_timeout'),
    readMs: milliseconds(env, 'read_timeout'),
    writeMs: milliseconds(env, 'write_timeout'),
    contentType: word(env, 'content_type'),
    // of-watchdog's serializing mode is the classic one, but for stderr.
    combineOutput: flag(env, 'combine_output') ?? (isSerializing ? false : undefined),
    writeDebug: flag(env, 'write_debug'),
    prefixLogs: flag(env, 'prefix_logs'),
    cgiHeaders: flag(env, 'cgi_headers'),
    healthMs: milliseconds(env, 'healthcheck_interval'),
    readyPath: word(env, 'ready_path'),
  };
}

type Env = Readonly<Record<string, string>>;

function word(env: Env, name: string): string | undefined {
  return env[name] === '' ? undefined : env[name];
}

function modeOf(env: Env): ProcessMode | undefined {
  const text = word(env, 'mode');
  if (text === undefined) return undefined;
  const mode = modes[text];
  if (mode) return mode;
  throw invalid('mode', `one of ${Object.keys(modes).join(', ')}`, text);
}

function flag(env: Env, name: string): boolean | undefined {
  const text = word(env, name)?.toLowerCase();
  if (text === undefined) return undefined;
  if (text === 'true' || text === '1') return true;
  if (text === 'false' || text === '0') return false;
  throw invalid(name, 'true or false', text);
}

function count(env: Env, name: string): number | undefined {
  const text = word(env, name);
  if (text === undefined) return undefined;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw invalid(name, 'a number', text);
}

/** Seconds, or a duration of Go's. */
function milliseconds(env: Env, name: string): number | undefined {
  const text = word(env, name);
  if (text === undefined) return undefined;
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * 1000 : parseDuration(text);
  if (ms !== undefined) return ms;
  throw invalid(name, 'seconds, or a duration such as "30s" or "1m30s"', text);
}

function invalid(name: string, expected: string, got: string): MillraceError {
  return new MillraceError('config.invalid', `env ${name}: expected ${expected}, got ${JSON.stringify(got)}`);
}
