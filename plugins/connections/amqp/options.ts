import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { connect, type ChannelModel } from 'amqplib';
import type { z } from 'zod';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { amqpConnectionConfig } from './index.ts';

export type AmqpConnectionConfig = z.output<typeof amqpConnectionConfig>;

/** How long one attempt to dial one node may take. */
const attemptMs = 5000;

/** Dials one node; `purpose` is shown by the broker. */
export type Dial = (url: string, purpose: string) => Promise<ChannelModel>;

/** Rejects with `config.invalid` when a file cannot be read. */
export async function dialler(config: AmqpConnectionConfig, baseFolder: string): Promise<Dial> {
  const { user, password, vhost, heartbeat, tls, name, connectTimeout } = config;
  const pem = async (path: string | undefined, key: string): Promise<Buffer | undefined> => {
    if (path === undefined) return undefined;
    try {
      return await readFile(resolve(baseFolder, path));
    } catch (error) {
      throw new MillraceError('config.invalid', `tls.${key}: ${messageOf(error)}`, { cause: error });
    }
  };
  const secure = {
    ca: await pem(tls?.ca, 'ca'),
    cert: await pem(tls?.cert, 'cert'),
    key: await pem(tls?.key, 'key'),
    servername: tls?.serverName,
  };
  const given = Object.fromEntries(Object.entries(secure).filter(([, value]) => value !== undefined));
  return (url, purpose) => {
    const { protocol, hostname, port } = new URL(url);
    const options = {
      protocol: protocol.slice(0, -1),
      hostname: hostname.replace(/^\[|\]$/g, ''),
      ...(port === '' ? {} : { port: Number(port) }),
      username: user,
      password,
      // The client decodes it as a part of an address.
      vhost: encodeURIComponent(vhost),
      heartbeat: heartbeat / 1000,
    };
    return connect(options, {
      ...given,
      // Without it each confirm waits 40 ms for the acknowledgement of a packet.
      noDelay: true,
      timeout: Math.min(attemptMs, connectTimeout),
      clientProperties: { connection_name: `${name} (${purpose})`, product: 'millrace' },
    });
  };
}

/** What no waiting will mend, or undefined. Its message holds no secret. */
export function refusalOf(error: unknown, { url, user, vhost, tls }: AmqpConnectionConfig): MillraceError | undefined {
  const { code = '' } = (error ?? {}) as { readonly code?: string | number };
  const text = messageOf(error);
  const at = [url].flat().join(', ');
  const invalid = (message: string): MillraceError => new MillraceError('config.invalid', message, { cause: error });
  if (/ACCESS.REFUSED/.test(text)) {
    return invalid(
      `RabbitMQ at ${at} refuses the user ${user}: check user and password (guest may log in from its own machine only)`,
    );
  }
  // The client does not pass on what the broker says here.
  if (/Expected ConnectionOpenOk/.test(text)) {
    return invalid(
      `RabbitMQ at ${at} does not let the user ${user} into the virtual host ${vhost}: ` +
        'check vhost, that it exists (`rabbitmqctl list_vhosts`), and the permissions of the user',
    );
  }
  if (/^(CERT|ERR_TLS|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO)|ALTNAME/.test(`${code}`)) {
    const hint = tls?.ca === undefined ? 'give its authority as tls.ca' : 'check tls.ca and tls.serverName';
    return invalid(`the certificate of RabbitMQ at ${at} is not trusted (${text}): ${hint}`);
  }
  if (code === 'EPROTO' || code === 'ERR_SSL_WRONG_VERSION_NUMBER') {
    return invalid(`RabbitMQ at ${at} does not speak TLS there: use amqp: instead of amqps:, or its TLS port`);
  }
  return undefined;
}
