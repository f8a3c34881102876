import { type Command, Option } from 'commander';
import { readFile } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { type Dispatcher, request } from 'undici';
import { messageOf } from '../contracts/errors.ts';
import { acting, CliError } from './command.ts';
import { exitCodeHelp, exitCodes, type ExitCode } from './exit-codes.ts';

/** The options that every command of a gateway has. */
export interface ClientOptions {
  readonly url: string;
  readonly user?: string;
  readonly passwordFile?: string;
  readonly tokenFile?: string;
  readonly json?: boolean;
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Dispatcher.ResponseData['body'];
}

interface Asked {
  readonly query?: Readonly<Record<string, string | number | undefined>>;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: string | Uint8Array | Readable | undefined;
  /** How long the answer may take to begin, ms; 0 is for ever. */
  readonly patienceMs?: number;
  /** Gives up when it aborts. */
  readonly signal?: AbortSignal;
  /** Shows the credentials to whatever answers, which may be a function. */
  readonly authenticate?: boolean | undefined;
}

const maxErrorBytes = 65_536;
/** What to do about an error of the API, by its code, where the message cannot say so: it does not know who asks. */
const nextSteps: Readonly<Record<string, string>> = {
  'request.forbidden': 'a token with that scope: `millrace token create`',
  'function.missing': '`millrace functions` lists what is deployed',
  'connector.unknown': '`millrace connectors` lists them',
  'queue.unknown': '`millrace queues` lists them',
  'dead-letter.unknown': '`millrace dead-letters list` lists them',
  'secret.missing': '`millrace secrets` lists them',
  'queue.full': 'see what waits with `millrace queues`',
};
const ownRoutes = /^\/(?:system|invocations)\//;

/** Adds the common options; for the rest see `acting`. */
export function gatewayCommand(
  command: Command,
  run: (client: Client, options: never, ...words: never[]) => Promise<ExitCode | void>,
): Command {
  command
    .addOption(new Option('--url <url>', 'of the gateway').env('MILLRACE_URL').default('http://127.0.0.1:8080'))
    .addOption(new Option('--user <name>', 'of the gateway').env('MILLRACE_USER'))
    .option(
      '--password-file <file>',
      'holds the password; or set MILLRACE_PASSWORD (never an argument: others see those)',
    )
    .option('--token-file <file>', 'holds an API token, instead of user and password; or set MILLRACE_TOKEN')
    .option('--json', 'print JSON only')
    .addHelpText('after', exitCodeHelp);
  return acting(command, async (options: ClientOptions, ...words) =>
    run(await Client.of(options), options as never, ...words),
  );
}

/** A gateway at the other end of HTTP. Failures are CliErrors that say what to do next. */
export class Client {
  readonly #url: string;
  readonly #authorization: string | undefined;

  /** `authorization`: the header's text, for the gateway's own routes. */
  constructor(url: string, authorization?: string) {
    const parsed = URL.parse(url);
    if (!parsed || !/^https?:$/.test(parsed.protocol)) {
      throw new CliError(exitCodes.usage, `--url: expected http://HOST:PORT, got ${JSON.stringify(url)}`);
    }
    if (parsed.username || parsed.password) {
      throw new CliError(
        exitCodes.usage,
        '--url: give credentials by MILLRACE_TOKEN, or MILLRACE_USER and MILLRACE_PASSWORD, not in the URL',
      );
    }
    this.#url = parsed.href.replace(/\/+$/, '');
    this.#authorization = authorization;
  }

  static async of({ url, user, passwordFile, tokenFile }: ClientOptions): Promise<Client> {
    const token = tokenFile === undefined ? process.env['MILLRACE_TOKEN'] : await secretIn('--token-file', tokenFile);
    const password =
      passwordFile === undefined ? process.env['MILLRACE_PASSWORD'] : await secretIn('--password-file', passwordFile);
    // What was typed counts more than what is set for every command.
    if (token !== undefined && token !== '' && (tokenFile !== undefined || passwordFile === undefined)) {
      return new Client(url, `Bearer ${token}`);
    }
    if (user === undefined && password === undefined) return new Client(url);
    if (password === undefined) {
      throw new CliError(exitCodes.usage, 'a user without a password: set MILLRACE_PASSWORD or --password-file');
    }
    return new Client(url, `Basic ${Buffer.from(`${user ?? 'admin'}:${password}`).toString('base64')}`);
  }

  /** The answer, whatever its status. Credentials go to the gateway's own routes: functions have no business with them. */
  async send(
    method: string,
    path: string,
    { query, headers, body, patienceMs = 300_000, signal, authenticate = ownRoutes.test(path) }: Asked = {},
  ): Promise<Answer> {
    const asked = Object.entries(query ?? {}).filter(([, value]) => value !== undefined);
    const search = new URLSearchParams(asked.map(([name, value]) => [name, String(value)])).toString();
    const authorization = authenticate ? this.#authorization : undefined;
    try {
      const answer = await request(`${this.#url}${path}${search && `?${search}`}`, {
        method,
        headers: { ...(headers as Record<string, string | string[]>), ...(authorization && { authorization }) },
        body: body ?? null,
        headersTimeout: patienceMs,
        bodyTimeout: patienceMs,
        ...(signal && { signal }),
      });
      return { status: answer.statusCode, headers: answer.headers, body: answer.body };
    } catch (error) {
      throw this.#unreachable(error);
    }
  }

  /** The answer of the API as JSON; anything but 2xx is a CliError. */
  async json<Result>(method: string, path: string, asked: Asked & { readonly data?: unknown } = {}): Promise<Result> {
    const { data, ...rest } = asked;
    const answer = await this.ok(method, path, {
      ...rest,
      ...(data !== undefined && {
        body: JSON.stringify(data),
        headers: { 'content-type': 'application/json', ...rest.headers },
      }),
    });
    try {
      return (await answer.body.json()) as Result;
    } catch {
      throw new CliError(
        exitCodes.failed,
        `${this.#url} answered with something that is not JSON: is it a Millrace gateway?`,
      );
    }
  }

  async ok(method: string, path: string, asked: Asked = {}): Promise<Answer> {
    const answer = await this.send(method, path, asked);
    if (answer.status >= 300) throw await this.failure(answer);
    return answer;
  }

  /** What an unwanted answer means for the user. `meant`: what he may have meant, to follow the gateway's words. */
  async failure({ status, body }: Answer, meant = ''): Promise<CliError> {
    const text = await textOf(body);
    if (status === 401) return new CliError(exitCodes.unauthorized, this.#unauthorized(), { status });
    const error = apiError(text);
    if (!error) {
      return new CliError(exitCodeOf(status), `${this.#url} answered ${status}${text && `: ${text.slice(0, 500)}`}`, {
        status,
      });
    }
    const { code, message } = error;
    const next = nextSteps[code];
    return new CliError(exitCodeOf(status), `${message}${meant} (${code})${next === undefined ? '' : `; ${next}`}`, {
      status,
      code,
    });
  }

  #unauthorized(): string {
    const how =
      'by MILLRACE_TOKEN or --token-file; or a user by MILLRACE_USER and MILLRACE_PASSWORD, or --user and --password-file';
    return this.#authorization === undefined
      ? `${this.#url} wants credentials: give a token (\`millrace token create\` makes one, and says where it goes) ${how}`
      : `${this.#url} does not take these credentials: give others ${how}`;
  }

  #unreachable(error: unknown): CliError {
    const { code } = error as { readonly code?: unknown };
    if (code === 'ECONNREFUSED') {
      return new CliError(
        exitCodes.unreachable,
        `nothing listens on ${this.#url}: is the gateway running? Start it with \`millrace serve\`, or say where it is by --url or MILLRACE_URL`,
      );
    }
    if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
      return new CliError(exitCodes.unreachable, `the host of ${this.#url} is not known: check --url or MILLRACE_URL`);
    }
    return new CliError(exitCodes.unreachable, `no answer from ${this.#url}: ${messageOf(error)}`);
  }
}

/** Whether the gateway itself made the answer, not the function. */
export function isRefusal({ headers }: Answer): boolean {
  return headers['x-openfaas-internal'] === 'millrace';
}

async function secretIn(option: string, file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).replace(/\r?\n$/, '');
  } catch (error) {
    throw new CliError(exitCodes.usage, `${option}: ${messageOf(error)}`);
  }
}

async function textOf(body: Answer['body']): Promise<string> {
  let text = '';
  for await (const chunk of body) {
    text += String(chunk);
    if (text.length > maxErrorBytes) break;
  }
  return text;
}

function apiError(text: string): { readonly code: string; readonly message: string } | undefined {
  try {
    const { error } = JSON.parse(text) as { error?: { code?: unknown; message?: unknown } };
    return typeof error?.message === 'string' ? { code: String(error.code), message: error.message } : undefined;
  } catch {
    return undefined; // Not JSON: the caller shows it as it is.
  }
}

function exitCodeOf(status: number): ExitCode {
  if (status === 403) return exitCodes.unauthorized;
  return status === 404 || status === 410 ? exitCodes.notFound : exitCodes.failed;
}
