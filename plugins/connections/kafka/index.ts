import { z } from 'zod';
import { duration, secret } from '../../../core/config/units.ts';
import { defineConnection } from '../../../core/contracts/definition.ts';
import { Kafka } from './connection.ts';

const file = (what: string): z.ZodOptional<z.ZodString> =>
  z.string().min(1).optional().describe(`${what}; a relative path is meant from the folder of the configuration.`);

const address = z
  .string()
  .regex(/^(?:\[[0-9a-fA-F:.]+\]|[^\s:/[\]]+):\d{1,5}$/, 'expected HOST:PORT, without a scheme');

export const kafkaConfig = z
  .strictObject({
    brokers: z
      .union([address, z.array(address).min(1)])
      .default('127.0.0.1:9092')
      .describe('One or several brokers of one cluster, as `HOST:PORT`; the others are found through them.'),
    clientId: z.string().min(1).default('millrace').describe('What the brokers see the client as.'),
    tls: z
      .strictObject({
        ca: file('PEM file of the authorities to trust instead of the public ones'),
        cert: file('PEM file of the client’s certificate; needs `key`'),
        key: file('PEM file of its key'),
        servername: z
          .string()
          .min(1)
          .optional()
          .describe('The name that the certificate is to have, where it is not that of the address.'),
      })
      .optional()
      .describe('Encrypts; `{}` for a certificate of a public authority.'),
    sasl: z
      .strictObject({
        mechanism: z.enum(['plain', 'scram-sha-256', 'scram-sha-512']).describe('What the brokers take.'),
        username: z.string().min(1).describe('The name to log in with.'),
        password: secret().describe('Its password.'),
      })
      .optional()
      .describe('Logs in.'),
    connectTimeout: duration('10s').describe('How long the start waits for a broker that is away.'),
  })
  .refine(({ tls }) => (tls?.cert === undefined) === (tls?.key === undefined), 'tls.cert and tls.key go together');

export default defineConnection({
  kind: 'kafka',
  summary: 'Apache Kafka: one broker or a cluster.',
  config: kafkaConfig,
  publishes: true,
  examples: [
    {},
    {
      brokers: ['kafka-1:9093', 'kafka-2:9093'],
      tls: { ca: 'ca.pem' },
      sasl: { mechanism: 'scram-sha-512', username: 'millrace', password: '${file:kafka-password}' },
    },
  ],
  create: (config, host) => new Kafka(config, host),
});
