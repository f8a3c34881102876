import { type Command, Option } from 'commander';
import { parseDuration } from '../config/units.ts';
import { invocationStates } from '../contracts/invocation.ts';
import { type Answer, type Client, type ClientOptions, gatewayCommand, isRefusal } from './client.ts';
import { CliError } from './command.ts';
import { exitCodes, type ExitCode } from './exit-codes.ts';
import { colours, printable, printJson, table } from './output.ts';

/** As `GET /invocations/ID` has it. */
export interface InvocationView {
  readonly id: string;
  readonly callId: string;
  readonly function: string;
  readonly state: string;
  readonly attempt: number;
  readonly acceptedAt: string;
  readonly startedAt: string | null;
  readonly finishedAt: string | null;
  readonly nextAttemptAt?: string;
  readonly result: { readonly status: number; readonly bytes: number } | null;
  readonly error: { readonly code: string; readonly message: string } | null;
  readonly replayOf?: string;
}

interface ListOptions extends ClientOptions {
  readonly function?: string;
  readonly state?: string;
  readonly limit: string;
  readonly cursor?: string;
}

interface WaitOptions extends ClientOptions {
  readonly wait?: string;
}

/** The gateway waits no longer than this in one request. */
const longPollMs = 30_000;

export function registerInvocations(program: Command): void {
  const group = program.command('invocations').description('look at queued invocations, or cancel them');
  const listing = group
    .command('list')
    .description('those that the gateway has accepted or run lately, newest first')
    .option('--function <function>', 'only of this function')
    .addOption(new Option('--state <state>', 'only those in it').choices(invocationStates))
    .option('--limit <count>', 'at most so many', '50')
    .option('--cursor <cursor>', 'the next page, as the last one named it');
  gatewayCommand(listing, list);

  const get = group
    .command('get')
    .description('show what became of an invocation; exit 1 if it failed')
    .argument('<id>')
    .option('--wait <duration>', 'wait until it has finished, at most so long: 30s');
  gatewayCommand(get, async (client, { wait, json }: WaitOptions, id: string) => {
    const view = await stateOf(client, id, durationOption('--wait', wait) ?? 0);
    if (json) printJson(view);
    else console.log(describe(view));
    return ['dead', 'expired', 'cancelled'].includes(view.state) ? exitCodes.failed : exitCodes.ok;
  });

  const result = group
    .command('result')
    .description("print the function's own answer; exit 1 if its status is 400 or more")
    .argument('<id>')
    .option('--wait <duration>', 'wait until there is one, at most so long: 30s');
  gatewayCommand(result, async (client, { wait, json }: WaitOptions, id: string) =>
    printResult(await resultOf(client, id, durationOption('--wait', wait) ?? 0), json),
  );

  const cancel = group
    .command('cancel')
    .description('cancel an invocation: one that waits never runs, one that runs is aborted')
    .argument('<id>');
  gatewayCommand(cancel, async (client, { json }: ClientOptions, id: string) => {
    const answer = await client.json<{ state: string }>('DELETE', pathOf(id));
    if (json) printJson(answer);
    else
      console.log(answer.state === 'running' ? `${printable(id)} is being aborted` : `${printable(id)} is cancelled`);
  });
}

async function list(client: Client, { json, function: name, ...options }: ListOptions): Promise<void> {
  const { state, limit, cursor } = options;
  const query = { function: name, state, limit, cursor };
  const page = await client.json<{ items: InvocationView[]; cursor?: string }>('GET', '/system/invocations', { query });
  if (json) return printJson(page);
  // A page may be empty though others follow: those that it looked at are in other states.
  if (page.items.length === 0 && page.cursor === undefined) return console.log('no such invocations');
  const rows = page.items.map((one) => [
    one.id,
    printable(one.function),
    one.state,
    one.attempt,
    one.acceptedAt,
    printable(one.error?.message ?? '', 60),
  ]);
  console.log(table(['id', 'function', 'state', 'attempt', 'accepted', 'last error'], rows));
  if (page.cursor !== undefined) console.log(colours.dim(`\nmore: --cursor ${page.cursor}`));
}

/** The function's answer as soon as there is one; a CliError when there is none in time. */
export async function resultOf(client: Client, id: string, waitMs: number): Promise<Answer> {
  const deadline = performance.now() + waitMs;
  for (;;) {
    const left = Math.max(0, Math.min(longPollMs, Math.ceil(deadline - performance.now())));
    const answer = await client.send('GET', `${pathOf(id)}/result`, {
      query: { wait: left > 0 ? `${left}ms` : undefined },
    });
    if (!isRefusal(answer)) return answer;
    if (answer.status !== 409 || answer.headers['retry-after'] === undefined) throw await client.failure(answer);
    if (performance.now() >= deadline) {
      throw new CliError(
        exitCodes.failed,
        `it has not finished yet; ask again: millrace invocations result ${printable(id)} --wait 5m`,
      );
    }
    await answer.body.dump();
  }
}

/** Prints the bytes of an answer; exit 1 when its status says that it failed. */
export async function printResult({ status, headers, body }: Answer, json: boolean | undefined): Promise<ExitCode> {
  if (json) {
    const bytes = Buffer.from(await body.arrayBuffer());
    const text = bytes.toString('utf8');
    const whole = Buffer.from(text).equals(bytes);
    printJson({ status, headers, ...(whole ? { body: text } : { bodyBase64: bytes.toString('base64') }) });
  } else {
    for await (const chunk of body) await written(chunk as Uint8Array);
    if (process.stdout.isTTY) process.stdout.write('\n');
    if (status >= 400) console.error(colours.red(`the function answered ${status}`));
  }
  return status >= 400 ? exitCodes.failed : exitCodes.ok;
}

export function durationOption(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const ms = parseDuration(text);
  if (ms !== undefined) return ms;
  throw new CliError(
    exitCodes.usage,
    `${name}: expected a duration such as "30s" or "1m30s", got ${JSON.stringify(text)}`,
  );
}

async function stateOf(client: Client, id: string, waitMs: number): Promise<InvocationView> {
  const deadline = performance.now() + waitMs;
  for (;;) {
    const left = Math.max(0, Math.min(longPollMs, Math.ceil(deadline - performance.now())));
    const query = { wait: left > 0 ? `${left}ms` : undefined };
    const view = await client.json<InvocationView>('GET', pathOf(id), { query });
    if (view.finishedAt !== null || performance.now() >= deadline) return view;
  }
}

function pathOf(id: string): string {
  return `/invocations/${encodeURIComponent(id)}`;
}

function describe(view: InvocationView): string {
  const { error, result } = view;
  const rows: [string, string][] = [
    ['function', view.function],
    ['state', view.state],
    ['attempt', String(view.attempt)],
    ['accepted', view.acceptedAt],
    ['started', view.startedAt ?? '-'],
    ['finished', view.finishedAt ?? '-'],
  ];
  if (view.nextAttemptAt !== undefined) rows.push(['next attempt', view.nextAttemptAt]);
  if (result) rows.push(['result', `status ${result.status}, ${result.bytes} bytes`]);
  if (error) rows.push(['error', `${error.message} (${error.code})`]);
  if (view.replayOf !== undefined) rows.push(['replay of', view.replayOf]);
  return table(
    ['id', view.id],
    rows.map(([name, value]) => [colours.dim(name), printable(value)]),
  );
}

/** Waits for whoever reads standard output: a pipe may be slower than the gateway. */
function written(chunk: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(chunk, (error) => (error ? reject(error) : resolve()));
  });
}
