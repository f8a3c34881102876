/**
 * The conformance suite of asynchronous calls, against any gateway: `npm run conformance -- --url http://127.0.0.1:8080`.
 * README.md beside this file says what the gateway must have deployed. Ends with 1 when a case of the asked levels fails.
 */
import { parseArgs } from 'node:util';
import { conformance, type Level } from './suite.ts';

const { values } = parseArgs({
  options: {
    url: { type: 'string' },
    functions: { type: 'string', default: 'conformance,conformance-other' },
    listen: { type: 'string', default: '127.0.0.1:8999' },
    'sink-url': { type: 'string' },
    user: { type: 'string' },
    patience: { type: 'string', default: '60' },
    levels: { type: 'string', default: 'openfaas,reliable,extended' },
    only: { type: 'string' },
  },
});
const { url, user } = values;
if (url === undefined) {
  console.error(
    'usage: npm run conformance -- --url URL [--user NAME:PASSWORD] [--functions A,B] [--levels openfaas,…]',
  );
  console.error(
    '  [--listen HOST:PORT] [--sink-url URL] [--patience SECONDS] [--only TEXT]; see test/conformance/README.md',
  );
  process.exit(2);
}
const [first = '', other = ''] = values.functions.split(',');
const colon = values.listen.lastIndexOf(':');
const levels = values.levels.split(',') as Level[];
const marks = { true: '✓', false: '✗' } as const;

const results = await conformance(
  {
    url: url.replace(/\/$/, ''),
    functions: [first, other],
    listen: { host: values.listen.slice(0, colon), port: Number(values.listen.slice(colon + 1)) },
    sinkUrl: values['sink-url'],
    authorization: user === undefined ? undefined : `Basic ${Buffer.from(user).toString('base64')}`,
    patienceMs: Number(values.patience) * 1000,
    only: values.only,
  },
  ({ name, level, failure, ms }) => {
    const mark = marks[failure === undefined ? 'true' : 'false'];
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
