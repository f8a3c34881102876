import { Cluster, type Redis } from 'ioredis';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { Durability } from '../../../core/contracts/invocation.ts';

/** What a queue or a store asks of the server before it keeps anything there. */
export interface DurabilityNeeds {
  /** Take a server that may lose what it was given. */
  readonly allowVolatile: boolean;
  /** What the operator says of a server whose settings may not be read. */
  readonly declared: 'disk' | 'page-cache' | undefined;
}

/** From the weakest. A group of servers is as durable as the weakest of them. */
const classes = ['memory', 'page-cache', 'disk'] as const satisfies readonly Durability[];

/** Reads how each server keeps its data. Rejects with `config.invalid`, naming server and setting, if one is not safe. */
export async function probeDurability(client: Redis | Cluster, needs: DurabilityNeeds): Promise<Durability> {
  const servers = client instanceof Cluster ? client.nodes('master') : [client];
  const found = await Promise.all(servers.map((server) => probe(server, needs)));
  return classes[Math.min(...found.map((each) => classes.indexOf(each)))] ?? 'memory';
}

async function probe(server: Redis, { allowVolatile, declared }: DurabilityNeeds): Promise<(typeof classes)[number]> {
  const at = `${server.options.host}:${server.options.port}`;
  const persistence = await server.info('persistence');
  const memory = await server.info('memory');
  const policy = field(memory, 'maxmemory_policy');
  if (!allowVolatile && policy !== 'noeviction') {
    throw new MillraceError(
      'config.invalid',
      `Redis at ${at} removes data when its memory is full (maxmemory-policy ${policy}): ` +
        'set maxmemory-policy noeviction there, or allowVolatile: true here',
    );
  }
  if (field(persistence, 'aof_enabled') !== '1') {
    if (allowVolatile) return 'memory';
    throw new MillraceError(
      'config.invalid',
      `Redis at ${at} keeps no append-only file (appendonly no), so that what was accepted is lost when it ends: ` +
        'set appendonly yes there, or allowVolatile: true here',
    );
  }
  const synced = await readFsync(server);
  if (typeof synced !== 'string') {
    if (declared) return declared;
    throw new MillraceError(
      'config.invalid',
      `Redis at ${at} does not tell how often it syncs its file (CONFIG GET appendfsync: ${messageOf(synced)}): ` +
        'set durability: disk here if it is "always" there, else durability: page-cache',
    );
  }
  const actual = synced === 'always' ? 'disk' : 'page-cache';
  if (declared === 'disk' && actual !== 'disk') {
    throw new MillraceError(
      'config.invalid',
      `durability: disk was asked for, but Redis at ${at} has appendfsync ${synced}: set appendfsync always there`,
    );
  }
  return policy === 'noeviction' ? actual : 'memory';
}

/** `always`, `everysec` or `no`; an error where the command is forbidden, as with many hosted ones. */
async function readFsync(server: Redis): Promise<unknown> {
  try {
    const reply: unknown = await server.config('GET', 'appendfsync');
    return (Array.isArray(reply) ? reply[1] : undefined) ?? new Error('the server has no such setting');
  } catch (error) {
    return error;
  }
}

function field(info: string, name: string): string | undefined {
  return new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1];
}
