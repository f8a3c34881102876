import { z } from 'zod';
import { duration, secret, timeLimit } from '../../../core/config/units.ts';
import { defineConnection } from '../../../core/contracts/definition.ts';
import { Mqtt } from './connection.ts';

const file = (what: string): z.ZodOptional<z.ZodString> =>
  z.string().min(1).optional().describe(`${what}; a relative path is meant from the folder of the configuration.`);

const needsClientId =
  'must be given: the broker keeps messages for the client of this name while the gateway is away. It has to be the same ' +
  'after a restart, and another one for each gateway: "millrace-${HOSTNAME}" where host names last';

export const mqttConnectionConfig = z
  .strictObject({
    url: z
      .string()
      .regex(
        /^(?:mqtts?:\/\/(?:[^\s:/@?#[\]]+|\[[0-9a-fA-F:]+\])(?::\d{1,5})?\/?|wss?:\/\/(?:[^\s:/@?#[\]]+|\[[0-9a-fA-F:]+\])(?::\d{1,5})?(?:\/[^\s?#]*)?)$/,
        'expected mqtt://HOST:PORT, mqtts://HOST:PORT, ws://HOST:PORT/PATH or wss://HOST:PORT/PATH, with username and ' +
          'password in settings of their own',
      )
      .default('mqtt://127.0.0.1:1883')
      .describe('The broker, as `mqtt://HOST:PORT`; `mqtts:` for TLS, `ws:` or `wss:` for WebSocket.'),
    version: z
      .union([z.literal(5), z.literal('3.1.1')])
      .default(5)
      .describe(
        'Of the protocol. With 3.1.1 messages have no headers, and the broker decides how long it keeps a session.',
      ),
    clientId: z
      .string()
      .max(200)
      .regex(/^[\w.:-]+$/, 'expected letters, digits and any of "_.:-"')
      .optional()
      .describe(
        'What the broker knows this gateway by: fixed, and another one for each gateway. Each connector has a session of ' +
          'its own, with its name added to this.',
      ),
    username: z.string().min(1).optional().describe('The name to log in with.'),
    password: secret().optional().describe('Its password, best as `${file:/run/secrets/mqtt}`.'),
    tls: z
      .strictObject({
        ca: file('PEM file of the authorities to trust instead of the public ones'),
        cert: file('PEM file of the client’s certificate; needs `key`'),
        key: file('PEM file of its key'),
        serverName: z.string().min(1).optional().describe('The name in the certificate, if it is not the host.'),
      })
      .refine(({ cert, key }) => (cert === undefined) === (key === undefined), 'cert and key go together')
      .optional()
      .describe('For `mqtts:` and `wss:`; not needed for a certificate of a public authority.'),
    session: z
      .strictObject({
        clean: z
          .boolean()
          .default(false)
          .describe('The broker keeps nothing while the gateway is away; only for connectors that may lose messages.'),
        expiry: duration()
          .refine((ms) => ms >= 1000, 'expected at least 1s: a session that ends at once keeps nothing (`clean: true`)')
          .optional()
          .describe('How long the broker keeps messages for a gateway that is away; `24h` without. Only of version 5.'),
        receiveMaximum: z
          .int()
          .min(1)
          .max(65_535)
          .default(200)
          .describe(
            'Messages that each connector may have taken and not acknowledged; no more than its `credit` either.',
          ),
      })
      .prefault({})
      .describe('What the broker keeps for the connectors.'),
    keepalive: timeLimit('10s')
      .refine((ms) => ms % 1000 === 0 && ms <= 65_535_000, 'expected whole seconds, at most 65535')
      .describe('A broker from which nothing was heard for one and a half times as long is taken for gone.'),
    connectTimeout: timeLimit('10s').describe('How long the start waits for a broker that is away.'),
  })
  .refine(({ clientId, session }) => clientId !== undefined || session.clean, {
    path: ['clientId'],
    error: needsClientId,
  })
  .refine(({ version, session }) => version === 5 || session.expiry === undefined, {
    path: ['session', 'expiry'],
    error:
      'only version 5 has it: with 3.1.1 it is a setting of the broker (persistent_client_expiration in Mosquitto)',
  })
  .refine(
    ({ password, username }) => password === undefined || username !== undefined,
    'password needs username: MQTT 3.1.1 knows none without it',
  )
  .refine(({ url, tls }) => tls === undefined || /^(?:mqtts|wss):/.test(url), {
    path: ['tls'],
    error: 'needs an address that begins with mqtts: or wss:',
  });

export default defineConnection({
  kind: 'mqtt',
  summary: 'A broker of MQTT 5 or 3.1.1, over TCP, TLS or WebSocket.',
  config: mqttConnectionConfig,
  publishes: true,
  packages: ['mqtt'],
  examples: [
    { clientId: 'gateway-1' },
    {
      url: 'mqtts://broker.internal:8883',
      version: '3.1.1',
      clientId: 'millrace-1',
      username: 'millrace',
      password: '${file:/run/secrets/mqtt}',
      tls: { ca: 'ca.pem' },
    },
  ],
  create: (config, host) => new Mqtt(config, host),
});
