import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { type ConnectionOptions, credsAuthenticator, ErrorCode, type TlsOptions } from 'nats';
import type { z } from 'zod';
import { messageOf, MillraceError } from '../../../core/contracts/errors.ts';
import type { natsConfig } from './index.ts';

type Config = z.output<typeof natsConfig>;

/** What the client is told. Rejects with `config.invalid` when a file cannot be read. */
export async function optionsOf(config: Config, baseFolder: string): Promise<ConnectionOptions> {
  const { servers, user, password, token, creds, tls, name } = config;
  const read = async (path: string, key: string): Promise<Buffer> => {
    try {
      return await readFile(resolve(baseFolder, path));
    } catch (error) {
      throw new MillraceError('config.invalid', `${key}: ${messageOf(error)}`, { cause: error });
    }
  };
  const pem = async (path: string | undefined, key: string): Promise<string | undefined> =>
    path === undefined ? undefined : (await read(path, key)).toString();
  const secure: TlsOptions | undefined = tls && {
    ...defined({ ca: await pem(tls.ca, 'tls.ca'), cert: await pem(tls.cert, 'tls.cert') }),
    ...defined({ key: await pem(tls.key, 'tls.key'), handshakeFirst: tls.first || undefined }),
  };
  const authenticator = creds === undefined ? undefined : credentials(await read(creds, 'creds'), creds);
  return {
    servers,
    name,
    ...defined({ user, pass: password, token, tls: secure, authenticator }),
    reconnect: true,
    maxReconnectAttempts: -1,
    // Credentials that are changed while it runs are refused for a while; that ends when the server's are changed, too.
    ignoreAuthErrorAbort: true,
    reconnectDelayHandler: () => 250 + Math.random() * 750,
    // A broker that hangs is taken for away within 15 s.
    pingInterval: 5000,
    maxPingOut: 2,
  };
}

/** What no waiting will mend, or undefined. Its message holds no secret. */
export function refusalOf(error: unknown, { servers, tls }: Config): MillraceError | undefined {
  const { code = '' } = (error ?? {}) as { readonly code?: string };
  const text = messageOf(error);
  const at = [servers].flat().join(', ');
  const invalid = (message: string): MillraceError => new MillraceError('config.invalid', message, { cause: error });
  if (unauthorized.has(code)) {
    return invalid(
      `the NATS server at ${at} refuses the credentials (${text}): check user and password, token, or creds`,
    );
  }
  if (code === serverHasNoTls) {
    return invalid(`the NATS server at ${at} does not offer TLS: leave out tls, or enable it on the server`);
  }
  if (/CERT|SELF_SIGNED|UNABLE_TO|ALTNAME/.test(code) || /certificate/i.test(text)) {
    const hint = tls?.ca === undefined ? 'give its authority as tls.ca' : 'check tls.ca and the name in the address';
    return invalid(`the certificate of the NATS server at ${at} is not trusted (${text}): ${hint}`);
  }
  return undefined;
}

const serverHasNoTls: string = ErrorCode.ServerOptionNotAvailable;
const unauthorized = new Set<string>([
  ErrorCode.AuthorizationViolation,
  ErrorCode.AuthenticationExpired,
  ErrorCode.AuthenticationTimeout,
  ErrorCode.AccountExpired,
  ErrorCode.BadAuthentication,
  ErrorCode.BadCreds,
]);

function credentials(text: Buffer, path: string): ReturnType<typeof credsAuthenticator> {
  // The client would look at it only while it connects, and then say no more than that it is refused.
  if (/BEGIN NATS USER JWT[^]*BEGIN USER NKEY SEED/.test(text.toString())) return credsAuthenticator(text);
  throw new MillraceError(
    'config.invalid',
    `creds: ${path}: expected a file with a JWT and an NKEY seed, as nsc makes it`,
  );
}

function defined<Values extends object>(values: Values): { [Key in keyof Values]: Exclude<Values[Key], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as never;
}
