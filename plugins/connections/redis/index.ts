import { z } from 'zod';
import { secret, timeLimit } from '../../../core/config/units.ts';
import { defineConnection } from '../../../core/contracts/definition.ts';
import { RedisConnection } from './connection.ts';

const address = z
  .string()
  .regex(/^[^\s:/@]+:\d{1,5}$|^\[[0-9a-fA-F:]+\]:\d{1,5}$/, 'expected HOST:PORT, as in "redis-1.internal:6379"');

export const redisConnectionConfig = z
  .strictObject({
    url: z
      .string()
      .regex(
        /^rediss?:\/\/(?!.*@)[^/?#]+(?:\/\d+)?\/?$/,
        'expected redis://HOST:PORT or redis://HOST:PORT/DATABASE, with credentials in username and password',
      )
      .optional()
      .describe('One server, as in `redis://127.0.0.1:6379`; `rediss:` for TLS.'),
    nodes: z
      .array(address)
      .min(1)
      .optional()
      .describe('Instead of `url`: some nodes of a Redis Cluster; the others are found through them.'),
    sentinel: z
      .strictObject({
        name: z.string().min(1).describe('What the sentinels call the group of servers.'),
        nodes: z.array(address).min(1).describe('The sentinels.'),
        username: z.string().min(1).optional().describe('Of the sentinels, where they ask for it.'),
        password: secret().optional().describe('Of the sentinels, where they ask for it.'),
      })
      .optional()
      .describe('Instead of `url`: ask sentinels which server is the primary.'),
    username: z.string().min(1).optional().describe('The ACL user; without it the default user.'),
    password: secret().optional().describe('Its password, best as `${file:/run/secrets/redis}`.'),
    tls: z
      .strictObject({
        ca: z.string().min(1).optional().describe('PEM of the authority to trust, if it is not a public one.'),
        cert: z.string().min(1).optional().describe('PEM of a client certificate.'),
        key: secret().optional().describe('PEM of its private key.'),
        serverName: z.string().min(1).optional().describe('The name in the certificate, if it is not the host.'),
      })
      .optional()
      .describe('Speaks TLS; `{}` is enough for a certificate of a public authority.'),
    connectTimeout: timeLimit('10s').describe('How long the start waits for the server.'),
    commandTimeout: timeLimit('5s').describe(
      'A server that has not answered for so long is taken for gone, and dialled anew.',
    ),
  })
  .refine(
    ({ url, nodes, sentinel }) => [url, nodes, sentinel].filter((each) => each !== undefined).length === 1,
    'needs one of url, nodes and sentinel',
  );

export default defineConnection({
  kind: 'redis',
  summary: 'Redis 6.2 or later: one server, a cluster, or what sentinels watch over.',
  config: redisConnectionConfig,
  publishes: true,
  examples: [
    { url: 'redis://127.0.0.1:6379' },
    { nodes: ['redis-1:6379', 'redis-2:6379'], username: 'millrace', password: '${file:/run/secrets/redis}', tls: {} },
  ],
  create: (config, host) => new RedisConnection(config, host),
});
