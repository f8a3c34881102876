import { type Command, Option } from 'commander';
import { sleep } from '../contracts/clock.ts';
import { messageOf } from '../contracts/errors.ts';
import { attemptCounts } from './attempt-counts.ts';
import { Client, type ClientOptions, gatewayCommand } from './client.ts';
import { CliError } from './command.ts';
import type { ConnectorRow } from './connectors.ts';
import { exitCodes } from './exit-codes.ts';
import type { FunctionView } from './functions.ts';
import { durationOption } from './invocations.ts';
import { colours, count, printable, printJson, table } from './output.ts';
import type { QueueRow } from './queues.ts';
import {
  type FunctionRow,
  type Sample,
  type Sorting,
  sortings,
  type SourceRow,
  type TopView,
  viewOf,
} from './top-view.ts';
import { Screen } from './screen.ts';

interface TopOptions extends ClientOptions {
  readonly metricsUrl: string;
  readonly sort: Sorting;
  readonly every: string;
  readonly once?: boolean;
}

/** Rates and times are over so many of the last samples. */
const windowSamples = 10;

export function registerTop(program: Command): void {
  const command = program
    .command('top')
    .description('how functions and connectors fare, again and again; once with --once, --json or without a terminal')
    .addOption(
      new Option('--metrics-url <url>', "of the gateway's metrics, for p50, p99 and errors")
        .env('MILLRACE_METRICS_URL')
        .default('http://127.0.0.1:8082/metrics'),
    )
    .addOption(new Option('--sort <by>', 'what comes first').choices(Object.keys(sortings)).default('rate'))
    .option('--every <duration>', 'how often to look', '1s')
    .option('--once', 'print it once, after one time of --every');
  gatewayCommand(command, async (client, options: TopOptions) => {
    const everyMs = durationOption('--every', options.every) ?? 0;
    if (everyMs < 100) throw new CliError(exitCodes.usage, '--every: expected 100ms or more');
    const metrics = metricsSource(options.metricsUrl);
    const first = await sampleOf(client, metrics);
    if (process.stdout.isTTY && !options.once && !options.json)
      return watch(client, metrics, first, everyMs, options.sort);
    await sleep(everyMs);
    const view = viewOf(first, await sampleOf(client, metrics), options.sort);
    if (options.json) printJson(view);
    else console.log(drawn(view));
    if (first.attempts === undefined && !options.json) console.error(colours.dim(noMetrics(options.metricsUrl)));
  });
}

interface MetricsSource {
  readonly client: Client;
  readonly path: string;
  readonly url: string;
}

function metricsSource(url: string): MetricsSource {
  const { origin, pathname } = URL.parse(url) ?? { origin: url, pathname: '' };
  return { client: new Client(origin), path: pathname, url };
}

async function sampleOf(client: Client, metrics: MetricsSource): Promise<Sample> {
  const [functions, queues, connectors, attempts] = await Promise.all([
    client.json<FunctionView[]>('GET', '/system/functions'),
    client.json<QueueRow[]>('GET', '/system/queues'),
    client.json<ConnectorRow[]>('GET', '/system/connectors'),
    attemptsOf(metrics),
  ]);
  return { at: performance.now(), functions, queues, connectors, attempts };
}

/** The metrics have a listener of their own, which is often not to be reached: all else can be shown without. */
async function attemptsOf({ client, path }: MetricsSource): Promise<Sample['attempts']> {
  try {
    const { body } = await client.ok('GET', path, { patienceMs: 5000 });
    return attemptCounts(await body.text());
  } catch (error) {
    if (error instanceof CliError) return undefined;
    throw error;
  }
}

/** Until `q` or Ctrl-C. A gateway that goes away meanwhile is waited for. */
async function watch(
  client: Client,
  metrics: MetricsSource,
  first: Sample,
  everyMs: number,
  sort: Sorting,
): Promise<void> {
  const samples = [first];
  let sorting = sort;
  let trouble = '';
  const draw = (): void => {
    const [oldest = first] = samples;
    const keys = Object.entries(sortings).map(([name, { key }]) =>
      name === sorting ? colours.bold(name) : `${key} ${name}`,
    );
    const missing = first.attempts === undefined ? noMetrics(metrics.url) : '';
    const foot = [trouble === '' ? missing : colours.red(trouble), colours.dim(`q quit · ${keys.join(' · ')}`)];
    screen.draw(drawn(viewOf(oldest, samples.at(-1) ?? first, sorting)), ['', ...foot]);
  };
  const screen = new Screen(process.stdin, process.stdout, (key) => {
    const found = Object.entries(sortings).find(([, { key: own }]) => own === key);
    if (!found) return;
    sorting = found[0] as Sorting;
    draw();
  });
  try {
    for (draw(); await sleep(everyMs, screen.closed);) {
      try {
        samples.push(await sampleOf(client, metrics));
        if (samples.length > windowSamples + 1) samples.shift();
        trouble = '';
      } catch (error) {
        if (!(error instanceof CliError) || error.exitCode === exitCodes.unauthorized) throw error;
        trouble = messageOf(error);
      }
      if (!screen.closed.aborted) draw();
    }
  } finally {
    screen.close();
  }
}

function noMetrics(url: string): string {
  return `no metrics at ${printable(url)}, so no p50, p99 and errors: see --metrics-url`;
}

function drawn({ seconds, functions, connectors }: TopView): string {
  const head = ['function', 'state', 'calls/s', 'p50', 'p99', 'errors/s', 'replicas', 'in flight', 'queued'];
  const parts = [colours.dim(` over ${seconds.toFixed(1)} s`), table(head, functions.map(functionCells))];
  if (connectors.length > 0) {
    const titles = ['connector', 'kind', 'state', 'messages/s', 'lag', 'in flight'];
    parts.push('', table(titles, connectors.map(sourceCells)));
  }
  return parts.join('\n');
}

function functionCells(row: FunctionRow): (string | number)[] {
  const { errorsPerSecond } = row;
  return [
    printable(row.name),
    row.state === 'ready' ? colours.green('ready') : colours.yellow(printable(row.state)),
    rate(row.perSecond),
    time(row.p50Ms),
    time(row.p99Ms),
    errorsPerSecond ? colours.red(rate(errorsPerSecond)) : errorsPerSecond === null ? '-' : rate(0),
    `${row.availableReplicas}/${row.replicas}`,
    count(row.inFlight),
    count(row.queued),
  ];
}

function sourceCells({ name, kind, state, perSecond, lag, inFlight }: SourceRow): (string | number)[] {
  const health = state === 'running' ? colours.green(state) : colours.red(printable(state));
  return [printable(name), printable(kind), health, rate(perSecond), lag ?? '-', count(inFlight)];
}

function rate(perSecond: number): string {
  return perSecond === 0 ? colours.dim('0') : perSecond.toFixed(perSecond < 10 ? 1 : 0);
}

function time(ms: number | null): string {
  if (ms === null) return '-';
  return ms < 1000 ? `${ms.toFixed(ms < 10 ? 1 : 0)}ms` : `${(ms / 1000).toFixed(1)}s`;
}
