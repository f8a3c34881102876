import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { z } from 'zod';
import { MillraceError } from '../../../core/contracts/errors.ts';
import type { FunctionSpec } from '../../../core/contracts/provider.ts';
import { programOf, splitCommand } from './command.ts';
import { type Image, imageOf } from './images.ts';
import type { processConfig, processFunction } from './index.ts';
import { limiting } from './limits.ts';
import { processEnv } from './variables.ts';
import { type ProcessMode, type WatchdogWords, watchdogWords } from './watchdog.ts';

type Config = z.output<typeof processConfig>;
type Own = z.output<typeof processFunction>;

/** What a function is run as: its own keys, its image, the watchdogs' words in its environment, and the provider. */
export interface FunctionSettings {
  /** `name.namespace` */
  readonly name: string;
  readonly mode: ProcessMode;
  readonly program: string;
  readonly args: readonly string[];
  readonly cwd: string;
  /** Without what is told of a request. */
  readonly env: Readonly<Record<string, string>>;
  /** Where a server listens; without a port each replica gets its own. Undefined but for `http`. */
  readonly upstream: Upstream | undefined;
  readonly ready: Own['ready'];
  readonly health: Own['health'];
  readonly contentType: string | undefined;
  readonly combineOutput: boolean;
  readonly cgiHeaders: boolean;
  readonly prefixLogs: boolean;
  readonly writeDebug: boolean;
  readonly replicas: number;
  readonly perReplica: number;
  /** Of one replica; 0 is no limit. */
  readonly maxInflight: number;
  /** ms of a whole call, and of its body to come; undefined where only the call's deadline holds. */
  readonly limitMs: number | undefined;
  readonly readMs: number | undefined;
  /** What goes before the command for its limits. */
  readonly limiting: readonly string[];
  readonly maxOutput: number;
  readonly graceMs: number;
  readonly startMs: number;
}

export interface Upstream {
  readonly hostname: string;
  readonly port: number | undefined;
}

/**
 * @throws MillraceError that names the function, and what of it cannot be run.
 */
export function settingsOf(spec: FunctionSpec, config: Config, baseFolder: string): FunctionSettings {
  try {
    return settled(spec, config, baseFolder);
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error;
    throw new MillraceError(error.code, `function ${spec.name}: ${error.message}`, { cause: error });
  }
}

function settled(spec: FunctionSpec, config: Config, baseFolder: string): FunctionSettings {
  const own = spec.config as Own;
  const image: Image = own.image === undefined ? {} : imageOf(config.images, own.image);
  const words = watchdogWords(spec.env);
  const env = processEnv(spec.env);
  const cwd = resolve(baseFolder, own.cwd ?? image.cwd ?? '.');
  if (!statSync(cwd, { throwIfNoEntry: false })?.isDirectory()) {
    throw new MillraceError('config.invalid', `there is no folder ${cwd}`);
  }
  const [command = '', ...args] = commandOf(own, image, words);
  const mode = own.mode ?? image.mode ?? words.mode ?? 'fork';
  const upstream = mode === 'http' ? upstreamOf(own.upstreamUrl ?? image.upstreamUrl ?? words.upstreamUrl) : undefined;
  if (upstream?.port !== undefined && own.replicas > 1) {
    const text = `upstreamUrl has port ${upstream.port}, which only one of ${own.replicas} replicas could listen on`;
    throw new MillraceError('config.invalid', `${text}: leave the port out and have the server listen on PORT`);
  }
  return {
    name: spec.name,
    mode,
    program: programOf(command, cwd, env['PATH']),
    args,
    cwd,
    env,
    upstream,
    ready: own.ready ?? image.ready ?? readyAt(words.readyPath),
    health: healthOf(own.health ?? image.health, words.healthMs),
    contentType: own.contentType ?? image.contentType ?? words.contentType,
    combineOutput: own.combineOutput ?? image.combineOutput ?? words.combineOutput ?? true,
    cgiHeaders: words.cgiHeaders ?? true,
    prefixLogs: words.prefixLogs ?? true,
    writeDebug: words.writeDebug ?? false,
    replicas: own.replicas,
    perReplica: own.perReplica ?? config.perReplica,
    maxInflight: own.maxInflight ?? image.maxInflight ?? words.maxInflight ?? 0,
    limitMs: shortest(words.execMs, words.writeMs),
    readMs: shortest(words.readMs),
    limiting: limiting(own.limits),
    maxOutput: config.maxOutput,
    graceMs: config.grace,
    startMs: config.start,
  };
}

/**
 * What an image is said to run goes first: clients send the command that it had in a container (`envProcess`), which is
 * not the one of this host.
 */
function commandOf(own: Own, image: Image, words: WatchdogWords): readonly string[] {
  const command = image.command ?? own.command ?? own.envProcess ?? words.command;
  if (command === undefined) throw new MillraceError('config.invalid', 'it has no command');
  return typeof command === 'string' ? splitCommand(command) : command;
}

function upstreamOf(url: string | undefined): Upstream {
  if (url === undefined) return { hostname: '127.0.0.1', port: undefined };
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  const isOurs = parsed && /^(localhost|127(\.\d+){3})$/.test(parsed.hostname);
  if (parsed?.protocol !== 'http:' || !isOurs || parsed.pathname !== '/' || parsed.search !== '') {
    const text = `upstreamUrl: expected http://127.0.0.1 or http://127.0.0.1:PORT, got ${JSON.stringify(url)}`;
    throw new MillraceError('config.invalid', text);
  }
  return { hostname: parsed.hostname, port: parsed.port === '' ? undefined : Number(parsed.port) };
}

const standardProbe = { period: 1000, timeout: 1000 };

function readyAt(path: string | undefined): Own['ready'] {
  return path === undefined ? undefined : { path, ...standardProbe };
}

function healthOf(health: Own['health'], healthMs: number | undefined): Own['health'] {
  return health && healthMs !== undefined && healthMs > 0 ? { ...health, period: healthMs } : health;
}

/** The watchdogs have no limit where it is 0. */
function shortest(...limits: readonly (number | undefined)[]): number | undefined {
  const set = limits.filter((limit) => limit !== undefined && limit > 0);
  return set.length === 0 ? undefined : Math.min(...(set as readonly number[]));
}
