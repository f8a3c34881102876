import { setTimeout as delay } from 'node:timers/promises';
import type { OwnBroker } from '../support/brokers.ts';
import type { Callers } from './callers.ts';
import type { Fleet } from './fleet.ts';
import { atRest } from './ledgers.ts';
import { LoopDisk, SmallDisk } from './machine/disks.ts';
import type { Disturber } from './network.ts';

/**
 * What is done to a running system in one round. `gateway`: kill -9 at a random moment. `failpoint`: at a named place.
 * `broker`: kill -9 of the broker, which is away for a moment. `both`: of both at once. `restart`: SIGTERM of the broker.
 * `stall`: SIGSTOP of the broker, and SIGCONT later. `network`: what is between the gateways and the broker fails.
 * `power`: of the machine, whose disk forgets what was not synced. `low`: somebody else takes the space of its disk, but for
 * what is to stay free. `full`: all of it.
 */
export type Strike =
  | 'gateway'
  | 'failpoint'
  | 'broker'
  | 'both'
  | 'restart'
  | 'stall'
  | 'network'
  | 'power'
  | 'low'
  | 'full';

export interface Striker {
  readonly fleet: Fleet;
  readonly callers: Callers;
  readonly broker: OwnBroker | undefined;
  /** Where the only gateway keeps its files. */
  readonly disk: LoopDisk | SmallDisk | undefined;
  readonly random: () => number;
  readonly stallMs: number;
  /** Of the network between the gateways and the broker, if it is to be struck. */
  readonly disturber: Disturber | undefined;
}

/** Told of a system whose broker was away. */
export interface Outage {
  /** How it was away, and how long a call took at most to be refused meanwhile. */
  readonly told: string;
  /** From the broker's return until each gateway that lived on had accepted a call and somebody had run it, ms. */
  readonly backMs: number;
}

/** While the broker is down a call is refused at once; so much is for a machine that does other things meanwhile. */
const refusalMs = 5000;
/** While it is stopped its connections are open, so that only time tells. */
const stalledRefusalMs = 20_000;
const backWithinMs = 30_000;
/** They were under way when it became full. */
const mostOnFullDisk = 300;
/** What the queue is told to leave free of a `SmallDisk`, bytes: enough for its log. */
export const smallDiskMark = 24 * 2 ** 20;

/** Does it to the gateway at `place`, or to the broker, and resolves when what can come back by itself has done so. */
export async function strike(kind: Strike, place: number, striker: Striker): Promise<Outage | undefined> {
  const { fleet, callers, random } = striker;
  // On a slow machine, too, it hits a system that is at work.
  if (kind !== 'failpoint') await callers.working();
  switch (kind) {
    case 'gateway':
      await delay(50 + random() * 1200);
      await fleet.kill(place);
      return undefined;
    case 'power':
      await delay(50 + random() * 1200);
      await cutPower(place, striker);
      return undefined;
    case 'low':
    case 'full':
      await delay(200 + random() * 600);
      await fill(kind, place, striker);
      return undefined;
    case 'failpoint':
      await fleet.watch(place, 4000);
      await fleet.kill(place);
      return undefined;
    default: {
      await delay(200 + random() * 600);
      return outage(kind, place, striker);
    }
  }
}

/** The disk first, so that the gateway meets errors of it before it is dead. */
async function cutPower(place: number, { fleet, callers, disk, random }: Striker): Promise<void> {
  if (!(disk instanceof LoopDisk)) throw new Error('this queue has no disk whose power can be cut');
  callers.isDark = true;
  await disk.cut();
  await delay(random() * 50);
  await fleet.kill(place);
  await disk.repower();
  callers.isDark = false;
}

/** New work has to be refused and no load balancer to send any; what is there is done all the same. */
async function fill(kind: 'low' | 'full', place: number, { fleet, callers, disk, random }: Striker): Promise<void> {
  if (!(disk instanceof SmallDisk)) throw new Error('this queue has no disk that can be filled');
  const url = fleet.at(place)?.url;
  if (url === undefined) return;
  const readiness = async (): Promise<number> => (await fetch(`${url}/readyz`)).status;
  disk.occupy(kind === 'full' ? 0 : Math.floor((0.3 + 0.6 * random()) * smallDiskMark));
  try {
    const before = callers.accepted.length;
    await comes('a call was refused with 507', callers, async () => {
      const isTaken = (await callers.send(url, 'ok'))?.status !== 507;
      if (!isTaken || callers.accepted.length - before < mostOnFullDisk) return !isTaken;
      callers.complaints.push(`${mostOnFullDisk} calls were accepted on a full disk`);
      return true;
    });
    await comes('the gateway was unready', callers, async () => (await readiness()) === 503);
    // Where nothing at all can be written, it is done once that can be.
    if (kind === 'low') await atRest(url);
    else await delay(random() * 2000);
  } finally {
    disk.release();
  }
  await comes('the gateway was ready again', callers, async () => (await readiness()) === 200);
  await returned(url, callers);
}

async function comes(what: string, { complaints }: Callers, holds: () => Promise<boolean>): Promise<void> {
  const giveUpAt = performance.now() + backWithinMs;
  while (!(await holds())) {
    if (performance.now() > giveUpAt) {
      complaints.push(`${what}: not within ${backWithinMs} ms`);
      return;
    }
    await delay(20);
  }
}

async function outage(
  kind: Exclude<Strike, 'gateway' | 'failpoint' | 'power' | 'low' | 'full'>,
  place: number,
  striker: Striker,
): Promise<Outage> {
  const { fleet, callers, broker, random, stallMs, disturber } = striker;
  if (!broker) throw new Error('this queue has no broker');
  let told: string;
  if (kind === 'network') {
    if (!disturber) throw new Error('there is no proxy before this broker');
    // Calls may be accepted or refused meanwhile, whichever a caller is told in time.
    await disturber.disturb();
    told = disturber.last;
  } else if (kind === 'stall') {
    broker.pause();
    const over = delay(stallMs);
    told = await refusals(striker, stalledRefusalMs);
    await over;
    broker.resume();
  } else {
    if (kind === 'both') await Promise.all([broker.kill(), fleet.kill(place)]);
    else if (kind === 'restart') await broker.stop();
    else await broker.kill();
    // The gateway has to see it first.
    await delay(300);
    told = await refusals(striker, refusalMs);
    await delay(random() * 500);
    await broker.restart();
  }
  const survivors = fleet.urls;
  const filled = fleet.fill();
  const back = performance.now();
  await Promise.all(survivors.map((url) => returned(url, callers)));
  const backMs = performance.now() - back;
  await filled;
  if (survivors.length < fleet.urls.length) await Promise.all(fleet.urls.map((url) => returned(url, callers)));
  if (backMs > backWithinMs)
    callers.complaints.push(`it worked again only ${Math.round(backMs)} ms after ${kind}, ${told}`);
  return { told, backMs };
}

/** Each gateway is asked, and has to refuse in time; returns how long the slowest took, in words. */
async function refusals({ fleet, callers }: Striker, withinMs: number): Promise<string> {
  const took = await Promise.all(
    fleet.urls.map(async (url) => {
      const askedAt = performance.now();
      const answer = await callers.send(url, 'ok');
      const ms = performance.now() - askedAt;
      if (answer?.status !== 503) {
        callers.complaints.push(`with the broker away a call was answered with ${answer?.status ?? 'nothing'}`);
      } else if (ms > withinMs) {
        callers.complaints.push(`with the broker away a call was refused only after ${Math.round(ms)} ms`);
      }
      return ms;
    }),
  );
  return `refused after ${Math.max(0, ...took).toFixed()} ms`;
}

/** Asks until a call is accepted, and waits until somebody has run it. */
async function returned(url: string, callers: Callers): Promise<void> {
  const giveUpAt = performance.now() + 2 * backWithinMs;
  while (performance.now() < giveUpAt) {
    const answer = await callers.send(url, 'probe');
    if (!answer) return; // A failpoint that was due has killed it.
    if (answer.status === 202) {
      if (await ended(url, answer.id, giveUpAt)) return;
      callers.complaints.push(`nobody ran ${answer.id} for ${2 * backWithinMs} ms after the broker had come back`);
      return;
    }
    await delay(100);
  }
  callers.complaints.push(`a gateway accepted nothing for ${2 * backWithinMs} ms after the broker had come back`);
}

/** False when it has not ended in time. */
async function ended(url: string, id: string, giveUpAt: number): Promise<boolean> {
  while (performance.now() < giveUpAt) {
    const answer = await fetch(`${url}/invocations/${id}`).catch(() => undefined);
    if (!answer) return true; // As above.
    const { state } = (await answer.json()) as { state?: string };
    if (state === 'succeeded') return true;
    await delay(50);
  }
  return false;
}
