/**
 * The conformance suite of asynchronous calls, against any gateway: `npm run conformance -- --url http://127.0.0.1:8080`.
 * README.md beside this file says what the gateway must have deployed. Ends with 1 when a case of the asked levels fails.
 */
import { Command } from 'commander';
import { conformance, type Level } from './suite.ts';

interface Options {
  readonly url: string;
  readonly functions: string;
  readonly listen: string;
  readonly sinkUrl?: string;
  readonly user?: string;
  readonly patience: string;
  readonly levels: string;
  readonly only?: string;
}

const options: Options = new Command('conformance')
  .description('Try on a gateway what it promises of asynchronous calls; see test/conformance/README.md.')
  .requiredOption('--url <url>', 'of the gateway')
  .option('--user <name:password>', 'where the gateway wants it')
  .option('--functions <names>', 'the two functions that pass on what they get', 'conformance,conformance-other')
  .option('--listen <host:port>', 'where they reach this suite', '127.0.0.1:8999')
  .option('--sink-url <url>', 'the same as they see it, where that is another address')
  .option('--patience <seconds>', 'how long something that must happen may take', '60')
  .option('--levels <levels>', 'those that must hold', 'openfaas,reliable,extended')
  .option('--only <text>', 'only cases with this in their name')
  .parse()
  .opts();
const { url, user } = options;
const [first = '', other = ''] = options.functions.split(',');
const colon = options.listen.lastIndexOf(':');
const levels = options.levels.split(',') as Level[];

const results = await conformance(
  {
    url: url.replace(/\/$/, ''),
    functions: [first, other],
    listen: { host: options.listen.slice(0, colon), port: Number(options.listen.slice(colon + 1)) },
    sinkUrl: options.sinkUrl,
    authorization: user === undefined ? undefined : `Basic ${Buffer.from(user).toString('base64')}`,
    patienceMs: Number(options.patience) * 1000,
    only: options.only,
  },
  ({ name, level, failure, ms }) => {
    const mark = failure === undefined ? '✓' : '✗';
    console.log(
      `${mark} ${level.padEnd(8)} ${name} (${Math.round(ms)} ms)${failure === undefined ? '' : `\n    ${failure}`}`,
    );
  },
);
for (const level of ['openfaas', 'reliable', 'extended'] as const) {
  const mine = results.filter((result) => result.level === level);
  console.log(`${level}: ${mine.filter(({ failure }) => failure === undefined).length} of ${mine.length}`);
}
process.exitCode = results.some(({ level, failure }) => failure !== undefined && levels.includes(level)) ? 1 : 0;
