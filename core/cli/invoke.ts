import { type Command, Option } from 'commander';
import { createReadStream } from 'node:fs';
import { access } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { didYouMean } from '../config/suggest.ts';
import { messageOf } from '../contracts/errors.ts';
import { type Answer, type Client, type ClientOptions, gatewayCommand, isRefusal } from './client.ts';
import { CliError } from './command.ts';
import { exitCodes, type ExitCode } from './exit-codes.ts';
import { functionNames } from './functions.ts';
import { durationOption, printResult, resultOf } from './invocations.ts';
import { printable, printJson } from './output.ts';

interface InvokeOptions extends ClientOptions {
  readonly data?: string;
  readonly file?: string;
  readonly method: string;
  readonly header?: readonly string[];
  readonly async?: boolean;
  readonly wait?: string;
  readonly priority?: string;
  readonly orderKey?: string;
  readonly delay?: string;
  readonly idempotencyKey?: string;
  readonly auth?: boolean;
}

interface FunctionCall {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string | string[]>>;
  readonly body: string | Uint8Array | Readable | undefined;
  /** Answered 202, and run later. */
  readonly queued: boolean;
  /** Shows the function's gate the credentials. */
  readonly authenticate?: boolean | undefined;
}

const methods = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'HEAD'];

export function registerInvoke(program: Command): void {
  const command = program
    .command('invoke')
    .description('call a function and print its answer')
    .argument('<function>', 'NAME or NAME.NAMESPACE; a path and a query may follow: echo/orders?all=1')
    .option('-d, --data <text>', 'the body')
    .option('-f, --file <file>', 'a file with the body; - reads standard input')
    .addOption(new Option('-X, --method <method>', 'HTTP method').choices(methods).default('POST'))
    .option('-H, --header <header...>', 'a header: "Content-Type: application/json"')
    .option('-a, --async', 'queue it and print its id')
    .option('-w, --wait <duration>', 'queue it, wait for the result at most so long, and print it: 30s')
    .option('--priority <0-9>', '9 is the highest')
    .option('--order-key <key>', 'run after all others with this key')
    .option('--delay <duration>', 'not before: 10m')
    .option('--idempotency-key <key>', 'a second one with this key is the same invocation')
    .option(
      '--auth',
      'show the credentials: for a function with `auth: token`, which does not get them; a public one does',
    );
  gatewayCommand(command, invoke);
}

async function invoke(client: Client, options: InvokeOptions, name: string): Promise<ExitCode> {
  const waitMs = durationOption('--wait', options.wait);
  const queued = options.async === true || waitMs !== undefined;
  const { method, auth } = options;
  const call = { method, headers: headersOf(options, queued), body: await bodyOf(options), queued, authenticate: auth };
  const answer = await callFunction(client, name, call);
  if (!queued || answer.status !== 202) return printResult(answer, options.json);
  const accepted = acceptedOf(answer);
  await answer.body.dump();
  if (waitMs !== undefined) return printResult(await resultOf(client, accepted.id, waitMs), options.json);
  if (options.json) printJson(accepted);
  else console.log(`${accepted.id}\n${accepted.location}`);
  return exitCodes.ok;
}

/**
 * The answer to a call, whatever its status.
 *
 * @throws CliError for what the gateway itself refused, with what to do about it.
 */
export async function callFunction(
  client: Client,
  name: string,
  { method = 'POST', headers = {}, body, queued, authenticate = false }: FunctionCall,
): Promise<Answer> {
  if (!/^[-a-zA-Z_0-9.]+(?:[/?].*)?$/.test(name)) {
    throw new CliError(exitCodes.usage, `expected NAME or NAME.NAMESPACE, got ${JSON.stringify(name)}`);
  }
  // Without a type, an HTTP function would have to guess.
  const type = typeof body === 'string' && { 'content-type': looksLikeJson(body) ? 'application/json' : 'text/plain' };
  const answer = await client.send(method, `/function/${name}`, {
    headers: { ...type, ...headers, ...(queued && { 'x-invoke-mode': 'async' }) },
    body,
    authenticate,
    patienceMs: 0, // The function's timeout is the gateway's business.
  });
  if (!isRefusal(answer) || answer.status < 400) return answer;
  if (answer.status === 401 && !authenticate) {
    const advice = `call it with \`millrace invoke ${name} --auth\`, and give one (\`millrace invoke --help\`)`;
    throw new CliError(exitCodes.unauthorized, `function ${name} takes a token: ${advice}`);
  }
  throw await refusalOf(client, answer, name);
}

/** What the gateway said, and of a function that is missing the name that may have been meant. */
async function refusalOf(client: Client, answer: Answer, name: string): Promise<CliError> {
  if (answer.status !== 404) return client.failure(answer);
  const asked = /^[^/?]*/.exec(name)?.[0] ?? '';
  const known = await functionNames(client).catch(() => []); // Who may call need not be allowed to list.
  const candidates = asked.includes('.') ? known : known.map((full) => full.replace(/\.[^.]*$/, ''));
  return client.failure(answer, didYouMean(asked, candidates));
}

function acceptedOf({ headers }: Answer): { id: string; callId: string; location: string; durability: string } {
  const text = (name: string): string => printable([headers[name]].flat()[0] ?? '');
  return {
    id: text('x-invocation-id'),
    callId: text('x-call-id'),
    location: text('location'),
    durability: text('x-durability'),
  };
}

function headersOf(options: InvokeOptions, queued: boolean): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = {};
  for (const [name, value] of (options.header ?? []).map(parseHeader)) {
    const before = headers[name];
    headers[name] = before === undefined ? value : [before, value].flat();
  }
  const { priority, orderKey, delay, idempotencyKey } = options;
  if (priority !== undefined) {
    if (!/^[0-9]$/.test(priority)) throw new CliError(exitCodes.usage, '--priority: expected a number from 0 to 9');
    headers['x-priority'] = priority;
  }
  durationOption('--delay', delay);
  for (const [option, header, value] of [
    ['--order-key', 'x-order-key', orderKey],
    ['--delay', 'x-delay', delay],
    ['--idempotency-key', 'idempotency-key', idempotencyKey],
  ] as const) {
    if (value === undefined) continue;
    if (!queued) throw new CliError(exitCodes.usage, `${option} is for queued work: add --async or --wait`);
    headers[header] = value;
  }
  return headers;
}

/** `Name: value`; an option of the command line, so what is wrong is said in its words. */
export function parseHeader(text: string): [name: string, value: string] {
  const [, name, value] = /^([!#$%&'*+.^_`|~\w-]+):\s*([^\r\n]*)$/.exec(text) ?? [];
  if (name === undefined || value === undefined) {
    throw new CliError(exitCodes.usage, `--header: expected "Name: value", got ${JSON.stringify(text)}`);
  }
  return [name.toLowerCase(), value];
}

async function bodyOf({ data, file }: InvokeOptions): Promise<string | Readable | undefined> {
  if (data !== undefined && file !== undefined) throw new CliError(exitCodes.usage, 'give --data or --file, not both');
  if (file === '-') return process.stdin;
  if (file === undefined) return data;
  try {
    await access(file);
  } catch (error) {
    throw new CliError(exitCodes.usage, `--file: ${messageOf(error)}`);
  }
  return createReadStream(file);
}

function looksLikeJson(text: string): boolean {
  try {
    return typeof JSON.parse(text) === 'object';
  } catch {
    return false;
  }
}
