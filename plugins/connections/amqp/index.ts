import { z } from 'zod';
import { secret, timeLimit } from '../../../core/config/units.ts';
import { defineConnection } from '../../../core/contracts/definition.ts';
import { Amqp } from './connection.ts';

const file = (what: string): z.ZodOptional<z.ZodString> =>
  z.string().min(1).optional().describe(`${what}; a relative path is meant from the folder of the configuration.`);

const address = z
  .string()
  .regex(
    /^amqps?:\/\/(?:[^\s:/@?#[\]]+|\[[0-9a-fA-F:]+\])(?::\d{1,5})?\/?$/,
    'expected amqp://HOST:PORT or amqps://HOST:PORT, with user, password and vhost in settings of their own',
  );

export const amqpConnectionConfig = z
  .strictObject({
    url: z
      .union([address, z.array(address).min(1)])
      .default('amqp://127.0.0.1:5672')
      .describe('One node or several nodes of one cluster, as `amqp://HOST:PORT`; `amqps:` for TLS.'),
    user: z.string().min(1).default('guest').describe('The name to log in with.'),
    password: secret().default('guest').describe('Its password, best as `${file:/run/secrets/rabbitmq}`.'),
    vhost: z.string().min(1).default('/').describe('The virtual host.'),
    tls: z
      .strictObject({
        ca: file('PEM file of the authorities to trust instead of the public ones'),
        cert: file('PEM file of the client’s certificate; needs `key`'),
        key: file('PEM file of its key'),
        serverName: z.string().min(1).optional().describe('The name in the certificate, if it is not the host.'),
      })
      .refine(({ cert, key }) => (cert === undefined) === (key === undefined), 'cert and key go together')
      .optional()
      .describe('For `amqps:`; not needed for a certificate of a public authority.'),
    heartbeat: timeLimit('5s')
      .refine((ms) => ms % 1000 === 0, 'expected whole seconds')
      .describe('A broker from which nothing was heard for two to three times as long is taken for gone.'),
    connectTimeout: timeLimit('10s').describe('How long the start waits for a broker that is away.'),
    name: z.string().min(1).default('millrace').describe('What the broker shows the client as.'),
  })
  .refine(
    ({ url, tls }) => tls === undefined || [url].flat().every((each) => each.startsWith('amqps:')),
    'tls needs addresses that begin with amqps:',
  );

export default defineConnection({
  kind: 'amqp',
  summary: 'RabbitMQ over AMQP 0-9-1, 3.9 or later: one node or a cluster.',
  config: amqpConnectionConfig,
  publishes: true,
  examples: [
    {},
    {
      url: ['amqps://rabbit-1:5671', 'amqps://rabbit-2:5671'],
      user: 'millrace',
      password: '${file:/run/secrets/rabbitmq}',
      vhost: 'events',
      tls: { ca: 'ca.pem' },
    },
  ],
  create: (config, host) => new Amqp(config, host),
});
