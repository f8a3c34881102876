import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { request } from 'undici';
import { type Cores, startSubject, type Subject } from './measure.ts';
import { profileArguments } from './profile.ts';

const root = join(import.meta.dirname, '..');
/** The function of most rows: gives back what it gets. */
export const echoModule = join(root, 'bench/servers/echo.ts');

/** What of a gateway's configuration differs from that of the others. */
export interface GatewayParts {
  /** Lines under `functions:`, indented. */
  readonly functions: string;
  readonly processes?: number;
  readonly queue?: string;
  readonly store?: string;
  readonly limits?: string;
  /** More top-level sections. */
  readonly more?: string;
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Core 0 where it is not said, so that the load has one of its own. */
  readonly cores?: Cores;
}

/** A gateway whose files lie in `home`, once it is ready. */
export function startGateway(home: string, name: string, parts: GatewayParts): Promise<Subject> {
  const file = join(home, `${name}.yaml`);
  writeFileSync(
    file,
    `gateway: { processes: ${parts.processes ?? 1}, listen: { port: 0 }, management: { port: 0 }, limits: ${parts.limits ?? '{}'} }
queues: { default: ${parts.queue ?? `{ kind: sqlite, path: ${name}.db }`} }
stores: { default: ${parts.store ?? '{ kind: memory }'} }
functions:
${parts.functions}
observability: { logs: { format: json, level: info } }
${parts.more ?? ''}`,
  );
  return startSubject([...profileArguments(name), 'core/main.ts', 'serve', '--config', file], parts.env, parts.cores);
}

export async function post(subject: Subject, path: string): Promise<void> {
  const { body, statusCode } = await request(subject.url + path, { method: 'POST' });
  await body.dump();
  if (statusCode >= 300) throw new Error(`${path}: ${statusCode}`);
}

/** How many invocations of a function wait or run. */
export async function depth({ url }: Subject, name: string): Promise<number> {
  const { body } = await request(`${url}/system/queues`);
  const rows = (await body.json()) as readonly { level: string; name: string; ready: number; leased: number }[];
  const lane = rows.find((row) => row.level === 'function' && row.name.startsWith(name));
  return (lane?.ready ?? 0) + (lane?.leased ?? 0);
}

/** Lets a paused function run and resolves when nothing of it is left. */
export async function drained(subject: Subject, name: string, everyMs: number): Promise<void> {
  await post(subject, `/system/queues/${name}/resume`);
  while ((await depth(subject, name)) > 0) await wait(everyMs);
}
