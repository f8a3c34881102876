import { Cluster, Redis, type RedisOptions } from 'ioredis';
import type { z } from 'zod';
import type { redisConnectionConfig } from './index.ts';

type Config = z.output<typeof redisConnectionConfig>;

const firstPauseMs = 50;
const longestPauseMs = 3000;

/** For ever, with pauses that grow to three seconds, and not all gateways at the same moment. */
function pauseBefore(attempt: number): number {
  const pauseMs = Math.min(firstPauseMs * 2 ** Math.min(attempt - 1, 10), longestPauseMs);
  return Math.round(pauseMs * (0.5 + Math.random() / 2));
}

/** The client library's own object, not connected yet. Nothing is kept for a server that is away: it rejects at once. */
export function createClient(config: Config, connectionName: string): Redis | Cluster {
  const { url, nodes, sentinel, username, password, tls, connectTimeout, commandTimeout } = config;
  const common = {
    connectionName,
    lazyConnect: true,
    connectTimeout,
    // The socket is given up when a command has had no answer for so long, which rejects everything under way.
    socketTimeout: commandTimeout,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...((tls || url?.startsWith('rediss:')) && {
      tls: {
        ...(tls?.ca !== undefined && { ca: tls.ca }),
        ...(tls?.cert !== undefined && { cert: tls.cert }),
        ...(tls?.key !== undefined && { key: tls.key }),
        ...(tls?.serverName !== undefined && { servername: tls.serverName }),
      },
    }),
  } satisfies RedisOptions;
  if (nodes) {
    return new Cluster(nodes.map(parseAddress), {
      lazyConnect: true,
      enableOfflineQueue: false,
      clusterRetryStrategy: pauseBefore,
      slotsRefreshTimeout: connectTimeout,
      redisOptions: common,
    });
  }
  const single = { ...common, enableOfflineQueue: false, retryStrategy: pauseBefore };
  if (sentinel) {
    return new Redis({
      ...single,
      name: sentinel.name,
      sentinels: sentinel.nodes.map(parseAddress),
      sentinelRetryStrategy: pauseBefore,
      ...(sentinel.username !== undefined && { sentinelUsername: sentinel.username }),
      ...(sentinel.password !== undefined && { sentinelPassword: sentinel.password }),
    });
  }
  const { hostname, port, pathname } = new URL(url ?? '');
  const database = pathname.replaceAll('/', '');
  return new Redis({
    ...single,
    host: hostname.replace(/^\[(.*)\]$/, '$1'),
    port: port === '' ? 6379 : Number(port),
    ...(database !== '' && { db: Number(database) }),
  });
}

function parseAddress(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(':');
  return { host: address.slice(0, colon).replace(/^\[(.*)\]$/, '$1'), port: Number(address.slice(colon + 1)) };
}

const fatalReply = /^(WRONGPASS|NOAUTH|NOPERM|ERR (AUTH|invalid password|DB index|invalid DB|Client sent AUTH))/;
const fatalCode = /^(CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|ERR_TLS_|ERR_SSL_|ERR_OSSL_)/;

/** Whether no waiting will mend it: credentials, certificates and settings. */
export function isFatal(error: unknown): error is Error {
  if (!(error instanceof Error)) return false;
  const { code, lastNodeError } = error as Error & { code?: unknown; lastNodeError?: unknown };
  if (lastNodeError !== undefined && lastNodeError !== error) return isFatal(lastNodeError);
  return fatalReply.test(error.message) || (typeof code === 'string' && fatalCode.test(code));
}

/** Where it dials, for people. */
export function describeTarget({ url, nodes, sentinel }: Config): string {
  if (url !== undefined) return url;
  if (nodes) return `the cluster of ${nodes.join(', ')}`;
  return `${sentinel?.name} of the sentinels ${sentinel?.nodes.join(', ')}`;
}
