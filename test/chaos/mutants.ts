import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../core/contracts/clock.ts';
import { MillraceError } from '../../core/contracts/errors.ts';
import { queueCases, runQueueCase } from '../../core/testing/queue-contract.ts';
import type { QueueBench, QueueSettings } from '../../core/testing/queue-trial.ts';
import type { MemoryFaults } from '../../plugins/queues/memory/queue.ts';
import { memoryBench } from '../contract/memory-bench.ts';
import { sqliteBench, sqliteQueue } from '../contract/sqlite-bench.ts';
import { startGateway, stopGateway } from '../support/gateway-process.ts';
import { plainMessage } from '../support/plain-message.ts';
import { check } from './checker.ts';
import { configuration } from './configuration.ts';
import { crashRun } from './driver.ts';
import { readLedgers } from './ledgers.ts';
import { sqlite } from './queues.ts';

/** A bug that somebody could have made. */
export interface Mutant {
  /** What `planted` is asked for, or the fault of the memory queue. */
  readonly plant: string;
  readonly where: string;
  /** The test whose promise it breaks. */
  readonly foundBy: string;
  /** Looks for it, planted or not; resolves with what was found wrong, or undefined if nothing was. */
  readonly hunt: (isPlanted: boolean) => Promise<string | undefined>;
  /** Where the same is done without the bug, if that takes too long to be done twice. */
  readonly control?: string;
}

const messages = 'plugins/queues/sqlite/messages.ts';
const thread = 'plugins/queues/sqlite/thread.ts';

/** Hunted by `mutants.test.ts`. */
export const mutants: readonly Mutant[] = [
  byContract('skip-epoch-check', messages, 'G3: a receipt whose message another one holds now changes nothing'),
  byContract('double-terminal', messages, 'G3: a lease is settled once, in each way, and every further word is stale'),
  byContract(
    'effects-before-settlement',
    messages,
    'G3: a receipt whose message another one holds now changes nothing',
  ),
  byContract(
    'crash-not-counted',
    messages,
    'G4: a message that kills the gateway itself is dead as crashed after its attempts',
  ),
  byContract('delay-runs-early', messages, 'G5: a delayed message is not leased before its time, and is leased then'),
  byContract(
    'lease-on-wall-clock',
    'plugins/queues/sqlite/step.ts',
    'G5: somebody who sets the wall clock ends no lease and no delay, and holds none up',
  ),
  byFault('releaseKeyOnRetry', 'G7: the first one is not overtaken while it waits for its retry'),
  byContract('duplicates-forgotten', thread, 'G8: it stays a duplicate over a crash, waiting or finished'),
  byContract(
    'drop-on-full',
    messages,
    'bounds: a full queue refuses, keeps nothing of what it refused, and takes again once there is room',
  ),
  byContract(
    'running-told-as-cancelled',
    messages,
    'cancel: one that runs goes on, and is cancelled instead of tried again',
  ),
  {
    plant: 'swallow-write-error',
    where: thread,
    foundBy: 'a full disk: what was accepted is there',
    hunt: (isPlanted) => withPlant(isPlanted ? 'swallow-write-error' : undefined, onFullDisk),
  },
  {
    plant: 'letter-after-settlement',
    where: messages,
    foundBy: 'kill -9 while a dead letter is written: it is there after the restart',
    hunt: (isPlanted) => killedAtLetter(isPlanted ? 'letter-after-settlement' : undefined),
  },
  {
    plant: 'ack-before-commit',
    where: 'plugins/queues/sqlite/queue.ts',
    foundBy: 'the checker of the chaos kit: lost',
    hunt: () => killedBeforeCommit('ack-before-commit'),
    control: 'test/chaos/sqlite.test.ts',
  },
];

/** Those that a promise's own test plants, beside the real run. */
export const mutantsElsewhere: readonly Omit<Mutant, 'hunt' | 'control'>[] = [
  { plant: 'commit-without-flush', where: 'plugins/queues/sqlite', foundBy: 'the power cut' },
  { plant: 'repeat-sent-call', where: 'core/kit/upstream/attempt.ts', foundBy: 'test/chaos/network.test.ts' },
  { plant: 'stop-breaks-off', where: 'core/host/gateway.ts', foundBy: 'test/chaos/rolling.test.ts' },
];

/** Whether small file systems can be mounted here: only then can a disk be full. */
export function mayMount(): boolean {
  return process.getuid?.() === 0;
}

/** In the sqlite queue; its thread looks for the plant when it starts. */
function byContract(plant: string, where: string, name: string): Mutant {
  const hunt = (isPlanted: boolean): Promise<string | undefined> =>
    withPlant(isPlanted ? plant : undefined, () => failureOf(name, sqliteBench));
  return { plant, where, foundBy: name, hunt };
}

/** In the memory queue. */
function byFault(fault: keyof MemoryFaults, name: string): Mutant {
  const hunt = (isPlanted: boolean): Promise<string | undefined> =>
    failureOf(name, (settings) => memoryBench(settings, { faults: { [fault]: isPlanted } }));
  return { plant: fault, where: 'plugins/queues/memory/queue.ts', foundBy: name, hunt };
}

/** What that case of the contract complains about. */
async function failureOf(
  name: string,
  create: (settings?: QueueSettings) => Promise<QueueBench>,
): Promise<string | undefined> {
  const queueCase = queueCases.find((each) => each.name === name);
  if (!queueCase) throw new Error(`the contract has no case ${name}`);
  const bench = await create(queueCase.settings);
  try {
    await runQueueCase(queueCase, bench);
    return undefined;
  } catch (error) {
    return String(error);
  } finally {
    await bench.dispose();
  }
}

async function withPlant<T>(plant: string | undefined, run: () => Promise<T>): Promise<T> {
  if (plant !== undefined) process.env['MILLRACE_PLANT'] = plant;
  try {
    return await run();
  } finally {
    delete process.env['MILLRACE_PLANT'];
  }
}

/** Enqueues until it is refused, and compares what the queue has with what it accepted. */
async function onFullDisk(): Promise<string | undefined> {
  const disk = mkdtempSync(join(tmpdir(), 'millrace-full-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', disk]);
  const queue = sqliteQueue(join(disk, 'queue.sqlite'), systemClock, { freeDisk: 0 });
  try {
    await queue.start();
    let accepted = 0;
    try {
      for (; accepted < 300; accepted++) {
        await queue.enqueue([plainMessage(String(accepted), { body: Buffer.alloc(20_000, 'x') })]);
      }
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error; // The disk is full.
    }
    const [lane] = await queue.lanes();
    return lane?.ready === accepted ? undefined : `${accepted} were accepted, and ${lane?.ready ?? 0} are there`;
  } finally {
    await queue.stop(5000);
    execFileSync('umount', [disk]);
    rmSync(disk, { recursive: true });
  }
}

/** A gateway is killed while it writes the letter of a call; another one tells what became of it. */
async function killedAtLetter(plant: string | undefined): Promise<string | undefined> {
  const home = mkdtempSync(join(tmpdir(), 'millrace-letter-'));
  const config = join(home, 'millrace.yaml');
  const env = { LEDGER: join(home, 'executions.jsonl') };
  const functions = [{ name: 'fail-always', inline: true, concurrency: 1, attempts: 1 }];
  writeFileSync(config, configuration(sqlite.yaml(''), functions, env.LEDGER));
  try {
    const armed = {
      ...env,
      MILLRACE_FAIL: 'queue.dead-letter:1',
      ...(plant !== undefined && { MILLRACE_PLANT: plant }),
    };
    const first = await startGateway(config, armed);
    const answer = await fetch(`${first.url}/async-function/fail-always`, { method: 'POST', body: 'x' });
    const id = String(answer.headers.get('x-invocation-id'));
    if ((await first.ended) !== 'SIGKILL') throw new Error('the failpoint ends it');
    const second = await startGateway(config, env);
    const { terminals, dead } = await readLedgers(second, [{ callId: '', id, function: 'fail-always', body: '' }]);
    await stopGateway(second);
    const states = terminals.map(({ state }) => state).join(', ');
    return states === 'dead' && dead.length === 1
      ? undefined
      : `it ended as ${states}, with ${dead.length} dead letters`;
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

/** Whether its early word has left a gateway before it is killed is chance, so it is given several. */
async function killedBeforeCommit(plant: string): Promise<string | undefined> {
  for (let seed = 1; seed <= 5; seed++) {
    const { history } = await crashRun({
      seed,
      queue: sqlite,
      gateways: 1,
      strikes: ['failpoint', 'failpoint'],
      calls: 100,
      // Without an end: what it commits when it is killed has calls in it.
      paceMs: 5,
      failpoints: ['queue.before-commit'],
      plant,
    });
    const { lost } = check(history);
    if (lost.length > 0) return `${lost.length} lost`;
  }
  return undefined;
}
