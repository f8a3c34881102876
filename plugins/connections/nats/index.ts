import { z } from 'zod';
import { duration, secret } from '../../../core/config/units.ts';
import { defineConnection } from '../../../core/contracts/definition.ts';
import { Nats } from './connection.ts';

const file = (what: string): z.ZodOptional<z.ZodString> =>
  z.string().min(1).optional().describe(`${what}; a relative path is meant from the folder of the configuration.`);

export const natsConfig = z
  .strictObject({
    servers: z
      .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
      .default('nats://127.0.0.1:4222')
      .describe('One or several servers of one cluster, as `nats://HOST:PORT` or `tls://HOST:PORT`.'),
    user: z.string().min(1).optional().describe('The name to log in with; needs `password`.'),
    password: secret().optional().describe('Its password.'),
    token: secret().optional().describe('Instead of a user: the token of the server.'),
    creds: file('Instead of a user: a file with a JWT and its NKEY seed, as `nsc` makes it'),
    tls: z
      .strictObject({
        ca: file('PEM file of the authorities to trust instead of the public ones'),
        cert: file('PEM file of the client’s certificate; needs `key`'),
        key: file('PEM file of its key'),
        first: z.boolean().default(false).describe('The server expects TLS before anything else (`handshake_first`).'),
      })
      .optional()
      .describe('Encrypts, and refuses a server that does not; `{}` for a certificate of a public authority.'),
    connectTimeout: duration('10s').describe('How long the start waits for a broker that is away.'),
    name: z.string().min(1).default('millrace').describe('What the server shows the client as.'),
  })
  .refine(({ user, password }) => (user === undefined) === (password === undefined), 'user and password go together')
  .refine(
    ({ user, token, creds }) => [user, token, creds].filter((given) => given !== undefined).length <= 1,
    'give one of user, token and creds',
  )
  .refine(({ tls }) => (tls?.cert === undefined) === (tls?.key === undefined), 'tls.cert and tls.key go together');

export default defineConnection({
  kind: 'nats',
  summary: 'A NATS server or cluster, 2.9 or later; with JetStream for the queue and the store.',
  config: natsConfig,
  publishes: true,
  examples: [
    {},
    { servers: ['tls://nats-1:4222', 'tls://nats-2:4222'], creds: 'gateway.creds', tls: { ca: 'ca.pem' } },
  ],
  create: (config, host) => new Nats(config, host),
});
