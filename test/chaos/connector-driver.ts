import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { OwnBroker } from '../support/brokers.ts';
import type { Execution } from './checker.ts';
import { configuration } from './configuration.ts';
import { checkMessages, type MessageHistory } from './connector-checker.ts';
import { connectorFailpoints, type CrashConnector, type Source } from './connectors.ts';
import { Fleet } from './fleet.ts';
import { readLedgers } from './ledgers.ts';
import { type Disturber, reachBroker } from './network.ts';
import { Producers } from './producers.ts';
import { seeded } from './random.ts';

/**
 * What is done in one round. `gateway`: kill -9 at a random moment. `failpoint`: at a named place. `stall`: SIGSTOP of a
 * gateway for longer than the broker waits for it, and SIGCONT. `leave`: it is stopped as it should be, while others go on,
 * and comes back. `broker`: kill -9 of the broker, which is away for a
 * moment. `freeze`: SIGSTOP of the broker, and SIGCONT. `network`: what is between the gateways and the broker fails.
 */
export type MessageStrike = 'gateway' | 'failpoint' | 'stall' | 'leave' | 'broker' | 'freeze' | 'network';

export interface MessagePlan {
  readonly seed: number;
  readonly connector: CrashConnector;
  readonly gateways: number;
  readonly strikes: readonly MessageStrike[];
  /** How long each of the producers waits between two messages, on average. */
  readonly paceMs: number;
  /** How long the function takes at most; 30 unless it is said. */
  readonly longestMs?: number;
  /** How long the network fails at most, each time; 2 s unless it is said. */
  readonly disturbedMs?: number;
  /** Used in turn, with the number of the time that ends the gateway; without, those of the core at random times. */
  readonly failpoints?: readonly string[];
  /** Plants the bug that a message is acknowledged before anything was done. */
  readonly early?: boolean;
  readonly log?: (text: string) => void;
}

/** Messages that are unsettled at once, for each of a gateway's connectors. */
const credit = 16;
/** What its queue runs at once, for those that were handed over to it. */
const concurrency = 8;
const attempts = 3;
const messagesOfRound = 400;
const freezeMs = 3000;
const failpointMs = 15_000;
const backWithinMs = 10_000;
const patienceMs = 30_000;
const quietMs = 8_000;

/** In one line, what was seen. */
export function messageSummary(history: MessageHistory): string {
  const { lost, duplicates } = checkMessages(history);
  const { confirmed, dead, atRisk } = history;
  return `${confirmed.length.toLocaleString('en')} confirmed, ${lost.length} lost, ${dead.length} dead letters, ${duplicates} given again of ${atRisk} allowed`;
}

/** Publishes messages while gateways and their broker are struck, then lets them finish, and returns the ledgers. */
export async function messageRun(plan: MessagePlan): Promise<MessageHistory> {
  const { seed, connector, gateways, strikes, paceMs, longestMs = 30, disturbedMs = 2000, log } = plan;
  const failpoints = plan.failpoints ?? [...connectorFailpoints, ...connector.failpoints];
  const random = seeded(seed);
  const home = mkdtempSync(join(tmpdir(), 'millrace-crash-'));
  const ledger = join(home, 'executions.jsonl');
  const config = join(home, 'millrace.yaml');
  const isDisturbed = strikes.includes('network');
  const reach = { settings: connector.settings, seed, disturbedMs: isDisturbed ? disturbedMs : undefined };
  await using reached = await reachBroker(connector.broker, reach);
  const { broker, url, disturber } = reached;
  await connector.prepare?.(broker);
  const source = await connector.open(broker, gateways);
  writeFileSync(config, yamlOf(plan, url, ledger));
  const fleet = new Fleet(config, { LEDGER: ledger, LONGEST_MS: String(longestMs) }, gateways);
  const producers = new Producers(source, connector.acks, seeded(seed + 1));
  const complaints: string[] = [];
  const over = new AbortController();
  let loading: Promise<void> | undefined;
  let named = 0;
  let atRisk = 0;
  // Of one gateway, when it is struck: both connectors' messages, and what its queue runs.
  const underWay = 2 * credit + concurrency + (connector.unsaid ?? 0);
  try {
    await fleet.fill();
    // What is sent before there is a session is nobody's.
    await listening(fleet);
    loading = producers.load(paceMs, over.signal);
    for (const [round, strike] of strikes.entries()) {
      const place = round % gateways;
      let told = '';
      if (strike === 'failpoint') {
        const choice = failpoints[named++ % failpoints.length] ?? '';
        told = choice.includes(':') ? choice : `${choice}:${1 + Math.floor(random() * 20)}`;
        // It has to be told at its start.
        await fleet.kill(place);
        atRisk += underWay + givenAgain(connector, broker);
      }
      await fleet.fill(place, told === '' ? undefined : told);
      producers.most = producers.confirmed.length + messagesOfRound;
      // What is struck by others is at work; one that has a failpoint is on its way there, or dead already.
      if (told === '') {
        await ran(producers, ledger);
        await delay(100 + random() * 300);
      }
      atRisk += await strikeOnce(strike, place, { fleet, broker, disturber, random, connector, complaints });
      const isOutage = strike === 'broker' || strike === 'network';
      const settled = isOutage ? await connectorsOf(fleet) : [];
      atRisk += isOutage || strike === 'freeze' ? gateways * underWay : underWay;
      // Somebody has to be there to run anything.
      if (fleet.gateways.length === 0) await fleet.fill();
      producers.most = producers.confirmed.length + messagesOfRound;
      const backMs = isOutage ? await allAtWork(fleet, settled) : await ran(producers, ledger);
      if (strike === 'broker' && backMs > backWithinMs) complaints.push(`back only after ${Math.round(backMs)} ms`);
      log?.(
        `round ${round}: ${strike} ${strike === 'network' ? disturber?.last : told}, ${producers.confirmed.length} confirmed, back in ${backMs.toFixed()} ms`,
      );
    }
    over.abort();
    await loading;
    await fleet.fill();
    await drained(source, producers, ledger);
    const told = await Promise.all(fleet.gateways.map((gateway) => readLedgers(gateway, [])));
    const left = await source.left();
    const codes = await fleet.stop();
    if (codes.some((code) => code !== 0)) complaints.push(`the gateways stopped with ${codes.join(' and ')}`);
    return {
      confirmed: producers.confirmed,
      unknown: producers.unknown,
      executions: executionsIn(ledger),
      dead: told.flatMap(({ dead }) => dead),
      attempts,
      ordered: connector.ordered ?? [],
      atRisk,
      left,
      drift: told.reduce((sum, { drift }) => sum + drift, 0),
      complaints: [...complaints, ...fleet.complaints],
    };
  } finally {
    over.abort();
    await loading;
    await fleet.dispose();
    await source.close();
    rmSync(home, { recursive: true, force: true });
  }
}

interface Struck {
  readonly fleet: Fleet;
  readonly broker: OwnBroker;
  /** Of the network before it, if that is struck. */
  readonly disturber: Disturber | undefined;
  readonly random: () => number;
  readonly connector: CrashConnector;
  readonly complaints: string[];
}

/** Returns how many messages the broker may give again on top of those that were under way. */
async function strikeOnce(
  strike: MessageStrike,
  place: number,
  { fleet, broker, disturber, random, connector, complaints }: Struck,
): Promise<number> {
  switch (strike) {
    case 'gateway':
      await fleet.kill(place);
      break;
    case 'failpoint':
      // One that is never reached is killed all the same, and is a complaint.
      await fleet.watch(place, failpointMs);
      if (fleet.at(place)) complaints.push('a failpoint was not reached');
      await fleet.kill(place);
      break;
    case 'stall': {
      const gateway = fleet.at(place);
      gateway?.child.kill('SIGSTOP');
      await delay(connector.stallMs);
      gateway?.child.kill('SIGCONT');
      break;
    }
    case 'leave':
      complaints.push(...(await fleet.leave(place)));
      break;
    case 'broker': {
      await broker.kill();
      const again = givenAgain(connector, broker);
      await delay(300 + random() * 500);
      await broker.restart();
      return again;
    }
    case 'freeze':
      broker.pause();
      await delay(freezeMs);
      broker.resume();
      break;
    case 'network':
      if (!disturber) throw new Error('there is no proxy before this broker');
      await disturber.disturb();
  }
  return givenAgain(connector, broker);
}

function givenAgain({ givesAgain }: CrashConnector, broker: OwnBroker): number {
  return givesAgain?.(broker) ?? 0;
}

/** Resolves when a message that is confirmed from now on has been run, with how long that took, ms. */
async function ran(producers: Producers, ledger: string): Promise<number> {
  const since = performance.now();
  const before = producers.confirmed.length;
  producers.most = Math.max(producers.most, before + 100);
  while (performance.now() - since < patienceMs) {
    const text = textOf(ledger);
    // Any of them: the very first one may have been lost, which is for the checker to find.
    if (producers.confirmed.slice(before).some(({ id }) => text.includes(`"${id}"`))) return performance.now() - since;
    await delay(50);
  }
  throw new Error(`a message that was confirmed has not been run within ${patienceMs} ms`);
}

interface ConnectorRow {
  /** Of whichever gateway. */
  readonly who: string;
  readonly state: string;
  readonly settled: number;
}

/** What each connector of messages tells of itself. */
async function connectorsOf(fleet: Fleet): Promise<readonly ConnectorRow[]> {
  const rows = await Promise.all(
    fleet.gateways.map(async ({ url }) => {
      const connectors = (await (await fetch(`${url}/system/connectors`)).json()) as (ConnectorRow &
        Readonly<Record<'name' | 'kind', string>>)[];
      return connectors
        .filter(({ kind }) => kind !== 'http')
        .map(({ name, state, settled }) => ({ who: `${url} ${name}`, state, settled }));
    }),
  );
  return rows.flat();
}

async function listening(fleet: Fleet): Promise<void> {
  while ((await connectorsOf(fleet)).some(({ state }) => state !== 'running')) await delay(20);
}

/**
 * Resolves when each connector of each gateway has settled more than that, so that every one of them is a consumer again;
 * with how long that took, ms.
 */
async function allAtWork(fleet: Fleet, before: readonly ConnectorRow[]): Promise<number> {
  const since = performance.now();
  const known = new Map(before.map(({ who, settled }) => [who, settled]));
  let idle: readonly string[] = [];
  while (performance.now() - since < patienceMs) {
    idle = (await connectorsOf(fleet)).flatMap(({ who, settled }) => (settled > (known.get(who) ?? 0) ? [] : who));
    if (idle.length === 0) return performance.now() - since;
    await delay(50);
  }
  throw new Error(`after the broker's return these have settled nothing for ${patienceMs} ms: ${idle.join(', ')}`);
}

/**
 * Waits until the broker keeps nothing more; where it cannot tell, until all that it confirmed has been run, or nothing was
 * for a while.
 */
async function drained(source: Source, producers: Producers, ledger: string): Promise<void> {
  const giveUpAt = performance.now() + patienceMs;
  let seen = 0;
  let quietAt = Infinity;
  while (performance.now() < Math.min(giveUpAt, quietAt)) {
    const left = await source.left();
    if (left === 0) return;
    if (left === undefined) {
      const executions = executionsIn(ledger);
      const done = new Set(executions.map(({ callId }) => callId));
      if (producers.confirmed.every(({ id }) => done.has(id))) return;
      if (executions.length !== seen) quietAt = performance.now() + quietMs;
      seen = executions.length;
    }
    await delay(100);
  }
}

function executionsIn(ledger: string): Execution[] {
  return textOf(ledger)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Execution);
}

function textOf(ledger: string): string {
  try {
    return readFileSync(ledger, 'utf8');
  } catch {
    return ''; // Nothing has been run yet.
  }
}

/** Gateways whose queue is a file of each one's own, so that nothing but the broker is shared. */
function yamlOf({ connector, early }: MessagePlan, url: string, ledger: string): string {
  const kind = early ? `${connector.kind}-early` : connector.kind;
  const connectors = connector.acks.map(
    (ack) =>
      `  ${ack}: { kind: ${kind}, connection: broker, ${connector.connector(ack)}, ack: ${ack}, function: message, credit: ${credit} }`,
  );
  const pieces = [
    ...(early ? [`plugins: [${join(import.meta.dirname, 'early-connectors.ts')}]`] : []),
    `connections: { broker: { kind: ${connector.broker}, ${connector.connection(url)} } }`,
    'queues: { default: { kind: sqlite, path: "queue-${PLACE}.db" } }',
    'connectors:',
    '  http: { kind: http }',
    ...connectors,
  ];
  const functions = [{ name: 'message', inline: true, concurrency, attempts }];
  return configuration(pieces.join('\n'), functions, ledger);
}
