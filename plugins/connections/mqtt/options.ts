import { readFile } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import { resolve } from 'node:path';
import type { IClientOptions } from 'mqtt';
import type { z } from 'zod';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { mqttConnectionConfig } from './index.ts';

export type MqttConnectionConfig = z.output<typeof mqttConnectionConfig>;

const attemptMs = 5000;
const standardExpiryMs = 86_400_000;

/** What every client of the connection is made with. Rejects with `config.invalid` when a file cannot be read. */
export async function optionsOf(config: MqttConnectionConfig, baseFolder: string): Promise<IClientOptions> {
  const { version, username, password, tls, keepalive, connectTimeout } = config;
  const { protocol, hostname, port, pathname } = new URL(config.url);
  const pem = async (path: string | undefined, key: string): Promise<Buffer | undefined> => {
    if (path === undefined) return undefined;
    try {
      return await readFile(resolve(baseFolder, path));
    } catch (error) {
      throw new MillraceError('config.invalid', `tls.${key}: ${messageOf(error)}`, { cause: error });
    }
  };
  const isWebSocket = protocol.startsWith('ws');
  // An IPv6 address stands in brackets in the address of a WebSocket, and nowhere else.
  const host = isWebSocket ? hostname : hostname.replaceAll(/^\[|\]$/g, '');
  const secure = {
    ca: await pem(tls?.ca, 'ca'),
    cert: await pem(tls?.cert, 'cert'),
    key: await pem(tls?.key, 'key'),
    servername: tls?.serverName,
  };
  return {
    ...defined({ ...secure, username, password, port: port === '' ? undefined : Number(port) }),
    protocol: protocol.slice(0, -1) as 'mqtt' | 'mqtts' | 'ws' | 'wss',
    host,
    hostname: host,
    ...(isWebSocket && { path: pathname }),
    ...(isWebSocket && tls?.serverName !== undefined && { wsOptions: { servername: tls.serverName } as object }),
    protocolVersion: version === 5 ? 5 : 4,
    keepalive: keepalive / 1000,
    connectTimeout: Math.min(attemptMs, connectTimeout),
    // One client is one connection: dialling anew, and what that means, is `link.ts`.
    reconnectPeriod: 0,
    resubscribe: false,
    queueQoSZero: false,
    // Else it asks a dozen times a packet whether `DEBUG=mqttjs*` wants its log: a tenth of what a message allocates.
    ...(process.env['DEBUG'] === undefined && { log: () => undefined }),
  };
}

/** The name of the gateway's own client; those of its connectors begin with it. */
export function clientIdOf({ clientId }: MqttConnectionConfig): string {
  return clientId ?? `millrace-${randomUUID().slice(0, 8)}`;
}

/** What makes a session, beside the name of the client. */
export function sessionOf(
  { version, session }: MqttConnectionConfig,
  receiveMaximum: number,
): Pick<IClientOptions, 'clean' | 'properties'> {
  const { clean, expiry = standardExpiryMs } = session;
  if (version !== 5) return { clean };
  return { clean, properties: { receiveMaximum, sessionExpiryInterval: clean ? 0 : Math.ceil(expiry / 1000) } };
}

/** What no waiting will mend, or undefined. Its message holds no secret. */
export function refusalOf(
  error: unknown,
  { url, username, version, tls }: MqttConnectionConfig,
): MillraceError | undefined {
  if (error instanceof MillraceError) return error.code === 'config.invalid' ? error : undefined;
  const { code = '' } = (error ?? {}) as { readonly code?: string | number };
  const text = messageOf(error);
  const invalid = (message: string): MillraceError => new MillraceError('config.invalid', message, { cause: error });
  if (code === 4 || code === 5 || code === 134 || code === 135) {
    const who = username === undefined ? 'a client without a user' : `the user ${username}`;
    return invalid(`the MQTT broker at ${url} refuses ${who} (${text}): check username and password`);
  }
  if (code === 1 || code === 132) {
    const other = version === 5 ? '3.1.1' : '5';
    return invalid(`the MQTT broker at ${url} does not speak version ${version}: try version: ${other}`);
  }
  if (code === 2 || code === 133) {
    return invalid(`the MQTT broker at ${url} refuses the name of the client (${text}): give another clientId`);
  }
  if (code === 138 || code === 140) return invalid(`the MQTT broker at ${url} refuses the client: ${text}`);
  if (/^(CERT|ERR_TLS|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO)|ALTNAME/.test(`${code}`)) {
    const hint = tls?.ca === undefined ? 'give its authority as tls.ca' : 'check tls.ca and tls.serverName';
    return invalid(`the certificate of the MQTT broker at ${url} is not trusted (${text}): ${hint}`);
  }
  if (code === 'EPROTO' || code === 'ERR_SSL_WRONG_VERSION_NUMBER') {
    return invalid(`the MQTT broker at ${url} does not speak TLS there: use mqtt: instead of mqtts:, or its TLS port`);
  }
  return undefined;
}

function defined<Values extends object>(values: Values): { [Key in keyof Values]: Exclude<Values[Key], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as never;
}
