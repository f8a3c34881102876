import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { ConnectionOptions } from 'node:tls';
import type { Logger } from 'pino';
import type { z } from 'zod';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { Address, ChannelOptions } from './channel.ts';
import type { kafkaConfig } from './index.ts';

type Config = z.output<typeof kafkaConfig>;

/** Where the brokers are. */
export function addressesOf({ brokers }: Config): Address[] {
  return [brokers].flat().map((text) => {
    const at = text.lastIndexOf(':');
    return { host: text.slice(0, at).replace(/^\[(.*)\]$/, '$1'), port: Number(text.slice(at + 1)) };
  });
}

/** What the client is told. Rejects with `config.invalid` when a file cannot be read. */
export async function optionsOf(
  config: Config,
  baseFolder: string,
  { logger, life }: { readonly logger: Logger; readonly life: AbortSignal },
): Promise<ChannelOptions> {
  const { clientId, tls, sasl } = config;
  const pem = async (key: 'ca' | 'cert' | 'key'): Promise<ConnectionOptions> => {
    const path = tls?.[key];
    if (path === undefined) return {};
    try {
      return { [key]: await readFile(resolve(baseFolder, path)) };
    } catch (error) {
      throw new MillraceError('config.invalid', `tls.${key}: ${messageOf(error)}`, { cause: error });
    }
  };
  const { servername } = tls ?? {};
  const named = servername === undefined ? {} : { servername };
  return {
    clientId,
    logger,
    life,
    tls: tls && { ...(await pem('ca')), ...(await pem('cert')), ...(await pem('key')), ...named },
    sasl,
  };
}

/** What no waiting will mend, or undefined. Its message holds no secret. */
export function refusalOf(error: unknown, { brokers, tls, sasl }: Config): MillraceError | undefined {
  const { name, type, code } = (error ?? {}) as Readonly<Record<string, unknown>>;
  const text = messageOf(error);
  const at = [brokers].flat().join(', ');
  const invalid = (message: string): MillraceError => new MillraceError('config.invalid', message, { cause: error });
  if (/mechanism is not supported/.test(text) || type === 'UNSUPPORTED_SASL_MECHANISM') {
    return invalid(`the Kafka broker at ${at} does not take sasl.mechanism ${sasl?.mechanism}: give one that it takes`);
  }
  if (type === 'ILLEGAL_SASL_STATE') {
    return invalid(`the Kafka broker at ${at} has no SASL at this port: leave out sasl, or give the port that has it`);
  }
  // It also says so when the socket was lost while it logged in.
  if (name === 'KafkaJSSASLAuthenticationError' && !/connect|closed|not answer/i.test(text)) {
    return invalid(
      `the Kafka broker at ${at} refuses the credentials (${text}): check sasl.username and sasl.password`,
    );
  }
  if (/CERT|SELF_SIGNED|UNABLE_TO|ALTNAME/.test(String(code)) || /certificate/i.test(text)) {
    const hint = tls?.ca === undefined ? 'give its authority as tls.ca' : 'check tls.ca and tls.servername';
    return invalid(`the certificate of the Kafka broker at ${at} is not trusted (${text}): ${hint}`);
  }
  return undefined;
}

/** What may be the matter when a broker ends the connection without a word, as one does that is just ending itself. */
export function hintOf(error: unknown, { tls }: Config): string {
  const text = messageOf(error);
  const silent = /before secure TLS|wrong version number|packet length/.test(text) || (tls && /ECONNRESET/.test(text));
  return silent ? `${text}; does it speak TLS at this port?` : text;
}
