/**
 * One side of a comparison, in a process of its own: `node bench/connectors/consume.ts KIND bare|ours URL NAME GROUP COUNT`.
 * For each line that it reads it handles COUNT messages and prints the CPU time that the process has used since it printed one
 * before, µs; in between its messages wait for their handler. For sources with a sender it prints `more` each time that
 * `step` messages are to be sent.
 */
import '../../core/v8-flags.ts'; // As `millrace serve` has them, and either side alike.
import { mkdtempSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { loadConfig } from '../../core/config/load.ts';
import { compose } from '../../core/host/compose.ts';
import { Gateway } from '../../core/host/gateway.ts';
import { builtIns, testDefaults } from '../../test/support/gateway.ts';
import { sources, step } from './sources.ts';

const [kind = '', side, url = '', name = '', group = '', count = '0'] = process.argv.slice(2);
const source = sources[kind];
if (!source) throw new Error(`there is no ${kind}; there are ${Object.keys(sources).join(', ')}`);
let seen = 0;
let left = 0;
let used = process.cpuUsage();
/** While it is the turn of the other side. */
let turn: PromiseWithResolvers<void> | undefined = Promise.withResolvers();
const handle = async (): Promise<void> => {
  if (turn) await turn.promise;
  // Without the stream of stdout, which costs more than its share of the messages.
  if (++seen % step === 0 && source.sender) writeSync(1, 'more\n');
  if (--left === 0) ended();
};

function ended(): void {
  turn = Promise.withResolvers();
  const { user, system } = process.cpuUsage(used);
  used = process.cpuUsage();
  writeSync(1, `${user + system}\n`);
}

createInterface(process.stdin)
  .on('line', () => {
    left = Number(count);
    turn?.resolve();
    turn = undefined;
  })
  .on('close', () => process.exit(0));

/** From now on nothing is lost that is sent. */
function listens(): void {
  if (source?.sender) writeSync(1, 'more\n'.repeat(4));
}

if (side === 'bare') {
  await source.bare(url, name, group, handle);
  listens();
} else {
  (globalThis as { benchHandle?: typeof handle }).benchHandle = handle;
  const folder = mkdtempSync(join(tmpdir(), 'millrace-bench-'));
  writeFileSync(join(folder, 'handle.ts'), 'export default () => globalThis.benchHandle();\n');
  writeFileSync(
    join(folder, 'millrace.yaml'),
    `
gateway: { listen: { port: 0 }, management: { port: 0 } }
connections: { main: { ${source.connection(url, name)} } }
queues: { default: { kind: memory, allowVolatile: true } }
stores: { default: { kind: memory } }
providers: { worker: { kind: worker } }
functions: { handle: { module: ./handle.ts, isolation: none, invoke: { concurrency: 64, result: { store: false } } } }
connectors: { bench: { ${source.connector(name, group)}, function: handle, credit: 64 } }
`,
  );
  const { config, problems } = await loadConfig(join(folder, 'millrace.yaml'), builtIns(), testDefaults);
  if (!config) throw new Error(problems.map(({ text }) => text).join('\n'));
  const gateway = new Gateway(compose(config, pino({ level: 'warn' }, pino.destination(2))), folder);
  await gateway.start();
  for (let state = ''; state !== 'running'; await sleep(10)) {
    const rows = (await (await fetch(`${gateway.url}/system/connectors`)).json()) as { name: string; state: string }[];
    state = rows.find((row) => row.name === 'bench')?.state ?? '';
  }
  listens();
}
