import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { startBroker } from '../support/brokers.ts';
import { type GatewayProcess, startGateway } from '../support/gateway-process.ts';
import type { Execution } from './checker.ts';
import { configuration } from './configuration.ts';
import type { CrashQueue } from './queues.ts';

const held = 8;
const patienceMs = 60_000;

/** Two gateways on one broker, with one function whose attempts last until they are let go. */
class Pair implements AsyncDisposable {
  readonly #config: string;
  readonly #env: Readonly<Record<string, string>>;
  readonly #ledger: string;
  readonly #disposals: (() => unknown)[];

  private constructor(config: string, ledger: string, plant: string | undefined, disposals: (() => unknown)[]) {
    this.#config = config;
    this.#ledger = ledger;
    this.#env = { LEDGER: ledger, ...(plant !== undefined && { MILLRACE_PLANT: plant }) };
    this.#disposals = disposals;
  }

  static async open(queue: CrashQueue, plant?: string): Promise<Pair> {
    const home = mkdtempSync(join(tmpdir(), 'millrace-takeover-'));
    const disposals: (() => unknown)[] = [() => rmSync(home, { recursive: true, force: true })];
    const broker = queue.broker && (await startBroker(queue.broker, { settings: queue.settings ?? [] }));
    if (broker) disposals.push(() => broker.dispose());
    const ledger = join(home, 'executions.jsonl');
    const config = join(home, 'millrace.yaml');
    const functions = [{ name: 'hold', inline: true, concurrency: held, attempts: 5 }];
    writeFileSync(config, configuration(queue.yaml(broker?.url ?? ''), functions, ledger));
    return new Pair(config, ledger, plant, disposals);
  }

  async gateway(): Promise<GatewayProcess> {
    const gateway = await startGateway(this.#config, this.#env);
    this.#disposals.push(() => {
      gateway.child.kill('SIGKILL');
      return gateway.ended;
    });
    return gateway;
  }

  /** Ends the attempts that hold, and those that will: the first ones, or all others. */
  letGo(which: 'first' | 'second'): void {
    writeFileSync(`${this.#ledger}.${which}`, '');
  }

  /** Resolves when so many attempts of that number have written that line. */
  async wrote(event: Execution['event'], attempt: number, count: number): Promise<void> {
    await until(`${count} × ${event} of attempt ${attempt}`, async () => {
      if (!existsSync(this.#ledger)) return false;
      const lines = readFileSync(this.#ledger, 'utf8').split('\n').filter(Boolean);
      const found = lines.map((line) => JSON.parse(line) as Execution);
      return found.filter((each) => each.event === event && each.attempt === attempt).length >= count;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const dispose of this.#disposals.toReversed()) await dispose();
  }
}

/** One gateway is killed with work leased; resolves with how long it took the other one to finish all of it, ms. */
export async function takeover(queue: CrashQueue): Promise<number> {
  await using pair = await Pair.open(queue);
  const one = await pair.gateway();
  const ids = await Promise.all(Array.from({ length: held }, () => call(one)));
  await pair.wrote('start', 1, held);
  const other = await pair.gateway();
  pair.letGo('second');
  one.child.kill('SIGKILL');
  const killedAt = performance.now();
  await one.ended;
  await until('everything is done', async () => {
    const states = await Promise.all(ids.map((id) => stateOf(other, id)));
    return states.every(({ state }) => state === 'succeeded');
  });
  return performance.now() - killedAt;
}

export interface Aftermath {
  /** Whether the queue heard that word at all: it may have been lost with the connection. */
  readonly heard: boolean;
  /** What became of the message by the word of the gateway that had lost it. */
  readonly state: string;
  readonly attempt: number;
  /** What is kept as its answer in the end. */
  readonly result: string;
}

/**
 * A gateway is stopped past its lease while a function runs, another one takes the message over, and while it runs there
 * the first one goes on and says that it has done it. Tried again when nobody heard it, since that would prove nothing.
 */
export async function stalled(queue: CrashQueue, plant?: string): Promise<Aftermath> {
  for (let tries = 1; ; tries++) {
    const aftermath = await stalledOnce(queue, plant);
    if (aftermath.heard || tries === 3) return aftermath;
  }
}

async function stalledOnce(queue: CrashQueue, plant: string | undefined): Promise<Aftermath> {
  await using pair = await Pair.open(queue, plant);
  const one = await pair.gateway();
  const id = await call(one);
  await pair.wrote('start', 1, 1);
  one.child.kill('SIGSTOP');
  const other = await pair.gateway();
  await pair.wrote('start', 2, 1);
  pair.letGo('first');
  one.child.kill('SIGCONT');
  await pair.wrote('end', 1, 1);
  let heard = false;
  await until('the stalled gateway has said what it had to say', async () => {
    const metrics = await (await fetch(`${one.management}/metrics`)).text();
    const isStale = /^millrace_stale_settles_total\{.*\} [1-9]/m.test(metrics);
    heard = isStale || (await stateOf(other, id)).state !== 'running';
    return heard || /^millrace_settle_errors_total\{.*\} [1-9]/m.test(metrics);
  });
  const { state, attempt } = await stateOf(other, id);
  pair.letGo('second');
  const result = await fetch(`${other.url}/invocations/${id}/result?wait=20s`);
  return { heard, state, attempt, result: await result.text() };
}

async function call({ url }: GatewayProcess): Promise<string> {
  const answer = await fetch(`${url}/async-function/hold`, { method: 'POST', body: 'x' });
  if (answer.status !== 202) throw new Error(`answered with ${answer.status} ${await answer.text()}`);
  return String(answer.headers.get('x-invocation-id'));
}

async function stateOf({ url }: GatewayProcess, id: string): Promise<{ state: string; attempt: number }> {
  const record = await fetch(`${url}/invocations/${id}`);
  return (await record.json()) as { state: string; attempt: number };
}

async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  const giveUpAt = performance.now() + patienceMs;
  while (!(await condition())) {
    if (performance.now() > giveUpAt) throw new Error(`not within ${patienceMs} ms: ${what}`);
    await delay(50);
  }
}
