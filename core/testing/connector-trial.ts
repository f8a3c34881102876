import { expect } from 'vitest';
import type { Subscription } from 'rxjs';
import { sleep, within } from '../contracts/clock.ts';
import type { Connector } from '../contracts/connector.ts';
import { messageOf } from '../contracts/errors.ts';
import type { Delivery, Verdict } from '../contracts/delivery.ts';
import type { Body, Outcome } from '../contracts/invocation.ts';
import { CreditPool } from '../delivery/credit.ts';
import { isStream, readAll } from '../kit/body.ts';
import type { ConnectorBench, ConnectorNeed, ConnectorTraits, Outgoing } from './connector-bench.ts';

/** One promise of every connector. It fails by rejecting. */
export interface ConnectorCase {
  /** The promise. */
  readonly name: string;
  readonly needs?: readonly ConnectorNeed[];
  run(trial: ConnectorTrial): Promise<void>;
}

/** So long is waited for what must come; a bound of the test, not of the connector. */
export const patienceMs = 15_000;
/** So long for what the source itself must have noticed. */
const soonMs = 5000;
/** So long is listened for what must not come. */
const quietMs = 300;
const outcome: Outcome = {
  status: 200,
  headers: {},
  body: null,
  durationMs: 1,
  failure: undefined,
  error: undefined,
};

export const verdicts: Readonly<Record<Verdict['kind'], Verdict>> = {
  done: { kind: 'done', outcome, effects: [] },
  accepted: {
    kind: 'accepted',
    accepted: { id: '01TRIAL', callId: 'trial', duplicate: false, durability: 'disk' },
  },
  retry: { kind: 'retry', delayMs: 200, outcome, counted: false },
  dead: { kind: 'dead', reason: 'max_attempts', outcome: { ...outcome, status: 500 }, effects: [] },
  cancelled: { kind: 'cancelled', outcome: { ...outcome, status: 499 } },
};

/** A connector under trial on its bench, with the words that the cases are written in. */
export class ConnectorTrial {
  readonly bench: ConnectorBench;
  readonly traits: ConnectorTraits;
  readonly #desks: Desk[] = [];
  #sent = 0;

  constructor(bench: ConnectorBench, traits: ConnectorTraits) {
    this.bench = bench;
    this.traits = traits;
  }

  /** The verdict that acknowledges, of several the first. */
  get acknowledging(): Verdict {
    return verdicts[this.traits.acknowledges[0] ?? 'done'];
  }

  /** So many, or as many as the connector gives at once. */
  atOnce(count: number): number {
    return Math.min(count, this.traits.atOnce);
  }

  /** Opens a gateway's connector and takes what it gives, up to so many that are not settled. */
  async desk(credit: number, gateway = 0): Promise<Desk> {
    const desk = new Desk(await this.bench.open(gateway), credit);
    this.#desks.push(desk);
    // It may take a moment to be heard of.
    await until(
      'the connector runs',
      () => desk.connector.health().state === 'running',
      () => desk.told,
    );
    return desk;
  }

  /** Who is given what the gateway 0 left when it stopped. */
  heir(credit: number): Promise<Desk> {
    return this.desk(credit, this.traits.handsBack === 'anyone' ? 1 : 0);
  }

  /** Sends so many messages of which no two are the same; returns what each says. */
  async send(count: number): Promise<string[]> {
    const texts = Array.from({ length: count }, () => `message ${this.#sent++}`);
    await this.bench.send(texts.map((text) => ({ body: Buffer.from(text) })));
    return texts;
  }

  async sendAs(...messages: readonly Outgoing[]): Promise<void> {
    await this.bench.send(messages);
  }

  /** That these were given, each just once. Of a source that carries nothing: as many, no two the same. */
  async expectOnce(taken: readonly Taken[], sent: readonly string[]): Promise<void> {
    const names = await this.names(taken);
    expect(
      names.filter((name, index) => names.indexOf(name) !== index),
      'given more than once',
    ).toEqual([]);
    if (this.traits.carries) expect(names.toSorted()).toEqual(sent.toSorted());
    else expect(names.length).toBe(sent.length);
  }

  /** That none of these is missing. */
  async expectAll(taken: readonly Taken[], sent: readonly string[]): Promise<void> {
    const names = new Set(await this.names(taken));
    if (this.traits.carries)
      expect(
        sent.filter((text) => !names.has(text)),
        'never given',
      ).toEqual([]);
    else expect(names.size).toBeGreaterThanOrEqual(sent.length);
  }

  /** What tells them apart. */
  names(taken: readonly Taken[]): Promise<string[]> {
    return Promise.all(taken.map(async (one) => (this.traits.carries ? one.text() : String(one.header('ce-id')))));
  }

  /** Resolves when the source keeps so many; at once where it cannot tell. */
  async untilLeft(count: number, withinMs = patienceMs): Promise<void> {
    const { bench } = this;
    if (!bench.left) return;
    let last: number | string = 'nothing';
    await until(
      `the source keeps ${count}`,
      async () => {
        last = (await bench.left?.()) ?? 0;
        if (last !== count) await sleep(20);
        return last === count;
      },
      () => `it keeps ${last}`,
      withinMs,
    );
  }

  /** That the source keeps so many, now or soon, and a moment later still; nothing where it cannot tell. */
  async expectLeft(count: number, why: string): Promise<void> {
    await this.untilLeft(count, soonMs);
    await quiet();
    if (this.bench.left) expect(await this.bench.left(), why).toBe(count);
  }

  /** That nothing is left for anyone: neither told by the source, nor given to a gateway that starts now. */
  async expectNothingLeft(): Promise<void> {
    await this.untilLeft(0);
    for (const desk of this.#desks) await desk.stop();
    if (this.traits.handsBack === 'nobody') return;
    const later = await this.desk(10);
    await quiet();
    expect(await this.names(later.taken), 'given again though it had been acknowledged').toEqual([]);
  }

  /** Stops everything; resolves with what no case may see, whatever it tries. */
  async finish(): Promise<string[]> {
    const told: string[] = [];
    for (const desk of this.#desks) {
      told.push(...desk.complaints.slice(0, 5));
      await desk.stop().catch((error: unknown) => void told.push(messageOf(error)));
    }
    return told;
  }
}

/** One delivery, as the pipeline has it. */
export class Taken {
  readonly delivery: Delivery;
  readonly atMs = performance.now();
  #bytes: Promise<Buffer> | undefined;

  constructor(delivery: Delivery) {
    this.delivery = delivery;
  }

  header(name: string): string | readonly string[] | undefined {
    return this.delivery.request.headers[name];
  }

  /** Read when it is asked for, as a function reads it: a client that used the memory again would be found out. */
  bytes(): Promise<Buffer> {
    this.#bytes ??= bytesOf(this.delivery.request.body);
    return this.#bytes;
  }

  async text(): Promise<string> {
    return (await this.bytes()).toString();
  }
}

/** In the pipeline's place: takes what one connector gives, and says of each what a case wants said. */
export class Desk {
  readonly connector: Connector;
  readonly credit: CreditPool;
  /** All that it was given, in order. */
  readonly taken: Taken[] = [];
  /** What it must not have seen. */
  readonly complaints: string[] = [];
  /** What `settleAll` was answered when it could not be said. */
  readonly refusals: unknown[] = [];
  /** Given and not settled; never more than `credit` allows. */
  unsettled = 0;
  /** The largest that `unsettled` was. */
  most = 0;
  readonly #taking: Subscription;
  #next = 0;
  #whenGiven: (() => void) | undefined;
  #stopped: Promise<void> | undefined;

  constructor(connector: Connector, credit: number) {
    this.connector = connector;
    this.credit = new CreditPool(credit);
    this.#taking = connector.deliveries(this.credit).subscribe({
      next: (delivery) => {
        if (this.unsettled >= this.credit.outstanding) {
          this.complaints.push(`a delivery was given with ${this.unsettled} unsettled, and no credit taken for it`);
        }
        this.unsettled++;
        this.most = Math.max(this.most, this.unsettled);
        this.taken.push(new Taken(delivery));
        this.#whenGiven?.();
      },
      error: (error: unknown) => this.complaints.push(`its deliveries ended with ${String(error)}`),
      complete: () => this.complaints.push('its deliveries ended'),
    });
  }

  /** For the message of a failure. */
  get told(): string {
    return `${this.taken.length} given; ${JSON.stringify(this.connector.health())} ${this.complaints.join('; ')}`;
  }

  /** The next so many that no case has had yet. */
  async next(count: number, withinMs = patienceMs): Promise<Taken[]> {
    const end = this.#next + count;
    await until(
      `${count} more are given`,
      () => this.taken.length >= end,
      () => this.told,
      withinMs,
    );
    const taken = this.taken.slice(this.#next, end);
    this.#next = end;
    return taken;
  }

  async one(withinMs = patienceMs): Promise<Taken> {
    const [taken] = await this.next(1, withinMs);
    if (!taken) throw new Error('nothing was given');
    return taken;
  }

  /** Says it, and gives the credit back then. Rejects as the connector does. */
  async settle(taken: Taken, verdict: Verdict): Promise<void> {
    const { delivery } = taken;
    try {
      // Once its sender has an answer, what has not been read of its body is gone.
      if (isStream(delivery.request.body)) await taken.bytes();
      await delivery.settlement.settle(verdict, delivery);
    } finally {
      this.unsettled--;
      this.credit.giveBack();
    }
  }

  /** Says it though it was said already, or though nobody waits for it any more. */
  async say({ delivery }: Taken, verdict: Verdict): Promise<void> {
    await delivery.settlement.settle(verdict, delivery);
  }

  /** Settles all that comes, as many as there will be by then. */
  async settleUpTo(count: number, verdict: Verdict, pauseMs = 0): Promise<Taken[]> {
    const all: Taken[] = [];
    const settling: Promise<void>[] = [];
    while (all.length < count) {
      const one = await this.one();
      all.push(one);
      const settled = sleep(pauseMs).then(() => this.settle(one, verdict));
      // Heard at the end; a case that fails before has said why, and its source may be gone by then.
      settled.catch(() => {});
      settling.push(settled);
    }
    await Promise.all(settling);
    return all;
  }

  /** From now on settles whatever comes, and what has come and no case has had, each after a moment. */
  settleAll(verdict: Verdict, pauseMs = 0): void {
    this.#whenGiven = () => {
      for (const taken of this.taken.slice(this.#next)) {
        this.#next++;
        void sleep(pauseMs)
          .then(() => this.settle(taken, verdict))
          // What is said while the source is away may well be refused: it is given again.
          .catch((error: unknown) => void this.refusals.push(error));
      }
    };
    this.#whenGiven();
  }

  /** That nothing more comes. */
  async expectQuiet(): Promise<void> {
    const before = this.taken.length;
    await quiet();
    expect(this.taken.length - before, 'given, though nothing was to come').toBe(0);
  }

  unsubscribe(): void {
    this.#taking.unsubscribe();
  }

  /** As the gateway does it at the drain deadline; what is unsettled stays so. */
  stop(deadlineMs = 500): Promise<void> {
    this.#stopped ??= this.#stop(deadlineMs);
    return this.#stopped;
  }

  async #stop(deadlineMs: number): Promise<void> {
    this.unsubscribe();
    const mostMs = deadlineMs + patienceMs;
    if (await within(this.connector.stop(deadlineMs), mostMs)) return;
    throw new Error(`stop(${deadlineMs}) did not end within ${mostMs} ms`);
  }
}

/** Lets pass what is long enough for anything that was on its way. */
export async function quiet(): Promise<void> {
  await sleep(quietMs);
}

/** Waits, in real time, until something holds. `tell`: what is known when it does not. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  tell: () => string = () => '',
  withinMs = patienceMs,
): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}. ${tell()}`);
    await sleep(5);
  }
}

async function bytesOf(body: Body): Promise<Buffer> {
  if (body === null) return Buffer.alloc(0);
  if (isStream(body)) return Buffer.from(await readAll(body, 2 ** 26, () => new Error('a body without an end')));
  return Buffer.from(body);
}
