import { type Command, Option } from 'commander';
import { readFile } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { type Dispatcher, request } from 'undici';
import { messageOf } from '../contracts/errors.ts';
import { exitCodeHelp, exitCodes, type ExitCode } from './exit-codes.ts';

/** An end of a command that is not a bug: what to tell the user, and how the process ends. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, message: string) {
    super(message);
    this.exitCode = exitCode;
  }
}

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
  /** Shows the credentials to whatever answers, which may be a function. */
  readonly authenticate?: boolean | undefined;
}

const maxErrorBytes = 65_536;
const ownRoutes = /^\/(?:system|invocations)\//;

/**
 * Adds the common options, and turns a CliError into a message and an exit code. Each `run` declares the options and
 * words that its command has been given; commander knows no types.
 */
export function gatewayCommand(
  command: Command,
  run: (client: Client, options: never, ...words: never[]) => Promise<ExitCode | void>,
): Command {
  return command
    .addOption(new Option('--url <url>', 'of the gateway').env('MILLRACE_URL').default('http://127.0.0.1:8080'))
    .addOption(new Option('--user <name>', 'of the gateway').env('MILLRACE_USER'))
    .option(
      '--password-file <file>',
      'holds the password; or set MILLRACE_PASSWORD (never an argument: others see those)',
    )
    .option('--token-file <file>', 'holds an API token, instead of user and password; or set MILLRACE_TOKEN')
    .option('--json', 'print JSON only')
    .addHelpText('after', exitCodeHelp)
    .action(async (...given: unknown[]) => {
      const words = given.slice(0, -2) as never[];
      try {
        const options = optionsOf(command) as ClientOptions;
        const client = await Client.of(options);
        process.exitCode = (await run(client, options as never, ...words)) ?? exitCodes.ok;
      } catch (error) {
        if (!(error instanceof CliError)) throw error;
        console.error(`millrace: ${error.message}`);
        process.exitCode = error.exitCode;
      }
    });
}

/**
 * The options of a command and of the groups above it. Commander gives `queues pause x --url U` to `queues`, which knows
 * the option too: what was typed counts, wherever it landed.
 */
function optionsOf(command: Command): unknown {
  const options: Record<string, unknown> = {};
  const typed = new Set<string>();
  for (let level: Command | null = command; level; level = level.parent) {
    for (const [name, value] of Object.entries(level.opts())) {
      const isTyped = level.getOptionValueSource(name) === 'cli';
      if (name in options && (!isTyped || typed.has(name))) continue;
      options[name] = value;
      if (isTyped) typed.add(name);
    }
  }
  return options;
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
    { query, headers, body, patienceMs = 300_000, authenticate = ownRoutes.test(path) }: Asked = {},
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

  /** What an unwanted answer means for the user. */
  async failure({ status, body }: Answer): Promise<CliError> {
    const text = await textOf(body);
    if (status === 401) {
      return new CliError(
        exitCodes.unauthorized,
        `${this.#url} wants credentials: set MILLRACE_TOKEN or --token-file; or MILLRACE_USER and MILLRACE_PASSWORD, or ` +
          '--user and --password-file',
      );
    }
    if (status === 403) {
      return new CliError(exitCodes.unauthorized, apiMessage(text) ?? `${this.#url} answered: ${text.slice(0, 500)}`);
    }
    const message = apiMessage(text) ?? `${this.#url} answered ${status}${text && `: ${text.slice(0, 500)}`}`;
    return new CliError(status === 404 || status === 410 ? exitCodes.notFound : exitCodes.failed, message);
  }

  #unreachable(error: unknown): CliError {
    const { code } = error as { readonly code?: unknown };
    if (code === 'ECONNREFUSED') {
      return new CliError(exitCodes.unreachable, `nothing listens on ${this.#url}: is \`npm start\` running?`);
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

function apiMessage(text: string): string | undefined {
  try {
    const { error } = JSON.parse(text) as { error?: { code?: unknown; message?: unknown } };
    return typeof error?.message === 'string' ? `${error.message} (${String(error.code)})` : undefined;
  } catch {
    return undefined; // Not JSON: the caller shows it as it is.
  }
}
