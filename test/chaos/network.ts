import { setTimeout as delay } from 'node:timers/promises';
import { type BrokerKind, type OwnBroker, startBroker } from '../support/brokers.ts';
import { type Direction, directions, FaultProxy, type Toxic } from './fault-proxy.ts';
import { seeded } from './random.ts';

/** In turn, from one that is drawn: so a few rounds have met most of them. `partition`: a black hole, then resets. */
const kinds = ['latency', 'black-hole', 'reset', 'slicer', 'partition', 'half-close', 'bandwidth'] as const;
type Kind = (typeof kinds)[number];

export interface Reach {
  readonly settings?: readonly string[] | undefined;
  readonly seed: number;
  /** The network fails for so long at most each time, ms; undefined: nothing is between, and it never fails. */
  readonly disturbedMs?: number | undefined;
}

/** A broker of one's own, and how it is reached. */
export interface Reached extends AsyncDisposable {
  readonly broker: OwnBroker;
  /** As it is for gateways. Who uses that of the broker itself is spared, but for Kafka's clients: it tells all of them where to go. */
  readonly url: string;
  readonly disturber?: Disturber;
}

export async function reachBroker(kind: BrokerKind, { settings = [], seed, disturbedMs }: Reach): Promise<Reached> {
  if (disturbedMs === undefined) {
    const broker = await startBroker(kind, { settings });
    return { broker, url: broker.url, [Symbol.asyncDispose]: () => broker.dispose() };
  }
  await using started = new AsyncDisposableStack();
  // Its port has to be known before, and where it leads to afterwards.
  const proxy = started.use(await FaultProxy.open(0, seeded(seed + 2)));
  const advertised = kind === 'kafka' ? [`advertised.listeners=PLAINTEXT://127.0.0.1:${proxy.port}`] : [];
  const broker = started.use(await startBroker(kind, { settings: [...settings, ...advertised] }));
  const address = /127\.0\.0\.1:(\d+)/;
  proxy.target = Number(address.exec(broker.url)?.[1]);
  const all = started.move();
  return {
    broker,
    url: broker.url.replace(address, `127.0.0.1:${proxy.port}`),
    disturber: new Disturber(proxy, seeded(seed + 3), disturbedMs),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/** A network that is disturbed by a schedule of its seed. */
export class Disturber {
  readonly #proxy: FaultProxy;
  readonly #random: () => number;
  readonly #longestMs: number;
  #next: number;
  /** What was done last. */
  last = '';

  constructor(proxy: FaultProxy, random: () => number, longestMs: number) {
    this.#proxy = proxy;
    this.#random = random;
    this.#longestMs = longestMs;
    this.#next = Math.floor(random() * kinds.length);
  }

  /** Once, for a while. */
  async disturb(): Promise<void> {
    const kind = kinds[this.#next++ % kinds.length] ?? 'reset';
    const which = [['up'], ['down'], directions] as const;
    const to = which[Math.floor(this.#random() * which.length)] ?? directions;
    const ms = Math.round(this.#longestMs * (0.2 + 0.8 * this.#random()));
    this.last = `${kind} ${to.join(' and ')} for ${ms} ms`;
    if (kind === 'reset' || kind === 'half-close') await this.#breaks(kind, to, ms);
    else {
      for (const direction of to) this.#proxy.set(direction, this.#toxic(kind));
      await delay(ms);
      // What was held up is lost with the connection, as when TCP has given up.
      if (kind === 'partition') for (const direction of directions) this.#proxy.break(direction, 'reset');
      this.#proxy.clear();
    }
  }

  /** One after the other, while what was broken is dialled again. */
  async #breaks(how: 'reset' | 'half-close', to: readonly Direction[], ms: number): Promise<void> {
    const count = 1 + Math.floor(this.#random() * 4);
    for (let index = 0; index < count; index++) {
      for (const direction of to) this.#proxy.break(direction, how);
      await delay(ms / count);
    }
  }

  #toxic(kind: Exclude<Kind, 'reset' | 'half-close'>): Toxic {
    switch (kind) {
      case 'latency':
        return { kind, ms: 20 + this.#random() * 300, jitterMs: this.#random() * 200 };
      case 'bandwidth':
        return { kind, bytesPerSecond: 2000 + this.#random() * 50_000 };
      case 'slicer':
        return { kind };
      case 'black-hole':
      case 'partition':
        return { kind: 'black-hole' };
    }
  }
}
