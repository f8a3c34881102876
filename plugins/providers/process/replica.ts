import { Client, type Dispatcher } from 'undici';
import { sleep } from '../../../core/contracts/clock.ts';
import { messageOf } from '../../../core/contracts/errors.ts';
import { Connections } from '../../../core/kit/upstream/connections.ts';
import type { Upstream as UpstreamOfAttempt } from '../../../core/kit/upstream/upstreams.ts';
import { endingText, ProcessGroup } from './group.ts';
import { eachLine } from './lines.ts';
import { accepts, freePort } from './port.ts';
import type { RunnerOwner } from './runner.ts';
import type { FunctionSettings, Upstream } from './settings.ts';

/** From one try to connect to the next, while a server starts, ms. */
const connectPeriodMs = 25;

/** What a replica tells its owner. */
export interface ReplicaOwner extends RunnerOwner {
  ready(replica: Replica): void;
  /** It has ended, as was asked of it or by itself. */
  gone(replica: Replica): void;
}

/** One server: a process that keeps running, and listens on a port of this host. */
export class Replica implements UpstreamOfAttempt {
  readonly basePath = '/';
  state: 'starting' | 'ready' | 'retired' | 'gone' = 'starting';
  inFlight = 0;
  /** Monotonic ms. */
  readySince = 0;
  /** How it ended, or why it was ended. */
  reason: string | undefined;
  readonly #settings: FunctionSettings;
  readonly #upstream: Upstream;
  readonly #owner: ReplicaOwner;
  /** Aborts with it. */
  readonly #over = new AbortController();
  #group: ProcessGroup | undefined;
  #connections: Connections | undefined;
  /** Of its probes: those of the calls may all be busy. */
  #probe: Client | undefined;

  constructor(settings: FunctionSettings, owner: ReplicaOwner) {
    this.#settings = settings;
    this.#upstream = settings.upstream ?? { hostname: '127.0.0.1', port: undefined };
    this.#owner = owner;
  }

  /** Resolves when it is over; never rejects. */
  async run(after: Promise<void> | undefined): Promise<void> {
    await after;
    try {
      if (this.state === 'starting') await this.#live();
    } catch (error) {
      this.reason ??= messageOf(error);
    }
    this.state = 'gone';
    this.#over.abort();
    void this.#connections?.destroy();
    void this.#probe?.destroy();
    this.#owner.gone(this);
  }

  /** A call in it has ended. */
  giveBack(): void {
    this.inFlight--;
    if (this.state === 'retired') this.retire();
  }

  dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void {
    this.#connected.dispatch(options, handler);
  }

  dispatchFresh(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void {
    this.#connected.dispatchFresh(options, handler);
  }

  /** Its process has just ended, which is told by that. */
  refused(): void {}

  /** Takes no more calls, and ends when those in it have. */
  retire(): void {
    if (this.state === 'gone') return;
    this.state = 'retired';
    if (this.inFlight === 0) this.#group?.end();
  }

  kill(): void {
    if (this.state !== 'gone') this.state = 'retired';
    this.#group?.kill();
  }

  get #connected(): Connections {
    if (this.#connections) return this.#connections;
    throw new Error('a server was called that is not ready');
  }

  /** From its start to its end. */
  async #live(): Promise<void> {
    const { hostname } = this.#upstream;
    const port = await freePort(hostname, this.#upstream.port);
    if (this.state !== 'starting') return; // It was given up meanwhile.
    const origin = `http://${hostname}:${port}`;
    const words = { PORT: String(port), http_port: String(port), upstream_url: origin };
    const group = new ProcessGroup(this.#settings, { ...this.#settings.env, ...words }, this.#owner.reaper);
    this.#group = group;
    this.#log(group);
    this.#connections = new Connections(new URL(origin));
    this.#probe = new Client(origin);
    void this.#watch(group, port);
    const ending = await group.closed;
    this.reason ??= endingText(ending);
  }

  #log({ pid, stdout, stderr }: ProcessGroup): void {
    const { prefixLogs } = this.#settings;
    for (const [name, stream] of [
      ['stdout', stdout],
      ['stderr', stderr],
    ] as const) {
      eachLine(stream, (line) => this.#owner.log(pid, prefixLogs ? `${name}: ${line}` : line));
    }
  }

  /** Sees it become ready, and then whether it is well, until it is over. */
  async #watch(group: ProcessGroup, port: number): Promise<void> {
    const { startMs, health } = this.#settings;
    const isReady = await this.#becomesReady(port);
    if (this.state !== 'starting') return;
    if (!isReady) {
      this.#giveUp(group, `it did not become ready within ${startMs} ms`);
      return;
    }
    this.state = 'ready';
    this.readySince = this.#owner.clock.monotonic();
    this.#owner.ready(this);
    if (!health) return;
    for (let failures = 0; await sleep(health.period, this.#over.signal);) {
      failures = (await this.#answers(health)) ? 0 : failures + 1;
      if (failures < health.failures || this.state !== 'ready') continue;
      this.#giveUp(group, `it did not answer GET ${health.path} with 2xx, ${failures} times in a row`);
      return;
    }
  }

  async #becomesReady(port: number): Promise<boolean> {
    const { startMs, ready } = this.#settings;
    const { clock } = this.#owner;
    const { signal } = this.#over;
    for (const endsAt = clock.monotonic() + startMs; clock.monotonic() < endsAt && this.state === 'starting';) {
      if (ready ? await this.#answers(ready) : await accepts(this.#upstream.hostname, port)) return true;
      if (!(await sleep(ready?.period ?? connectPeriodMs, signal))) return false;
    }
    return false;
  }

  async #answers({ path, timeout }: { readonly path: string; readonly timeout: number }): Promise<boolean> {
    try {
      const answer = await this.#probe?.request({ method: 'GET', path, signal: AbortSignal.timeout(timeout) });
      await answer?.body.dump();
      return answer !== undefined && answer.statusCode >= 200 && answer.statusCode < 300;
    } catch {
      return false; // Not there yet, or not well: either is the answer.
    }
  }

  #giveUp(group: ProcessGroup, reason: string): void {
    this.reason = reason;
    this.state = 'retired';
    group.end();
  }
}
