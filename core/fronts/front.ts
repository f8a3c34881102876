import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import type { ConnectionEnd } from '../api/caller-connections.ts';
import { PublicServer } from '../api/server.ts';
import { Authenticator } from '../auth/authenticator.ts';
import { Refusals } from '../auth/refusals.ts';
import { processesOf, shareOf } from '../config/processes.ts';
import { systemClock } from '../contracts/clock.ts';
import { planted } from '../delivery/failpoint.ts';
import { onStray } from '../host/plugins.ts';
import type { Registry } from '../host/registry.ts';
import { Events } from '../observe/events.ts';
import { createLogger, logWarnings } from '../observe/log.ts';
import { Meter } from '../observe/meter.ts';
import { Registry as Metrics } from '../observe/prometheus.ts';
import { tracingOf } from '../observe/traces/asked.ts';
import type { Tracing } from '../observe/tracing.ts';
import { version } from '../version.ts';
import { Borrower } from './borrower.ts';
import { FrontCalls } from './calls.ts';
import type { FrontNews, FrontPlace, FrontSettings, ToFront, ToOwner } from './protocol.ts';
import { Relay } from './relay.ts';

/** How often it gives back what it has not used, ms. */
const lookMs = 500;
/** How often it tells what it has counted, ms. */
const tellMs = 250;
const prefix = '/function/';

/** For the tests only: goes on by what it was told first. */
const keepsOld = planted('front-keeps-old');

/**
 * A process in front: takes connections of callers beside the owner, answers what it has a slot for, and passes all else on.
 * It ends when its channel to the owner does.
 */
export async function runFront(registry: Registry): Promise<number> {
  const { promise: begun, resolve: begin } = Promise.withResolvers<Extract<ToFront, { kind: 'begin' }>>();
  const waiting: ToFront[] = [];
  const early = (words: ToFront): void => void (words.kind === 'begin' ? begin(words) : waiting.push(words));
  process.on('message', early);
  const { promise: ended, resolve: end } = Promise.withResolvers<number>();
  process.on('disconnect', () => end(0));
  // A terminal and some supervisors tell every process; what to do is the owner's word.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);

  const { place, settings } = await begun;
  const { format, level } = settings.observability.logs;
  const secrets = new Set(settings.secrets);
  const logger = createLogger({ format, level, secrets }).child({ front: place.number });
  const stray = (error: unknown): void => {
    if (onStray(error, logger)) return;
    logger.fatal({ err: error }, 'a bug in Millrace: this process in front ends, and another one takes its place');
    end(1);
  };
  process.on('uncaughtException', stray);
  process.on('unhandledRejection', stray);
  logWarnings(logger);
  const front = new Front(registry, place, settings, secrets, logger, await tracingOf(process.env, logger, version));
  await front.start(settings);
  process.off('message', early);
  process.on('message', (words: ToFront) => front.hear(words));
  for (const words of waiting) front.hear(words);
  return ended;
}

function say(words: ToOwner): void {
  // Without a channel this process is about to end.
  if (process.connected) process.send?.(words, undefined, undefined, () => undefined);
}

class Front {
  readonly #registry: Registry;
  readonly #place: FrontPlace;
  readonly #logger: Logger;
  readonly #secrets: Set<string>;
  readonly #tracing: Tracing | undefined;
  readonly #server: PublicServer;
  readonly #relay: Relay;
  readonly #meter = new Meter(new Metrics());
  readonly #events = new Events(systemClock);
  readonly #borrower = new Borrower({
    borrow: (name, count) => say({ kind: 'borrow', name, count }),
    returned: (name, count) => say({ kind: 'returned', name, count }),
  });
  #calls: FrontCalls | undefined;
  /** The words that change what it answers by, one after another. */
  #taking: Promise<void> = Promise.resolve();
  /** How often it was told to hold, or by what to answer: the last word counts. */
  #turn = 0;
  /** Nothing is answered here until it is told by what. */
  #isHolding = true;
  #answered = 0;
  #settled = 0;
  #passed = 0;
  #ended: ConnectionEnd[] = [];
  /** The function of the request that is being begun: it is a call, or refused, before anything else happens. */
  #letIn: string | undefined;
  readonly #notBegun = (): void => {
    if (this.#letIn !== undefined) this.#release(this.#letIn);
    this.#letIn = undefined;
  };
  #watching: { unsubscribe(): void } | undefined;

  constructor(
    registry: Registry,
    place: FrontPlace,
    { gateway }: FrontSettings,
    secrets: Set<string>,
    logger: Logger,
    tracing: Tracing | undefined,
  ) {
    this.#registry = registry;
    this.#place = place;
    this.#secrets = secrets;
    this.#logger = logger;
    this.#tracing = tracing;
    this.#relay = new Relay(place.within, logger);
    const refusals = new Refusals(new Metrics(), logger, systemClock);
    this.#server = new PublicServer({
      // Asked by no route that is answered here.
      authenticator: new Authenticator('none', { clock: systemClock, logger, refusals, keySets: new Map() }),
      logger,
      listenHost: gateway.listen.host,
      limits: shareOf(gateway.limits.http, processesOf(gateway.processes)),
      ended: (reason) => this.#ended.push(reason),
      elsewhere: (request, response) => this.#passesOn(request, response),
    });
  }

  async start(settings: FrontSettings): Promise<void> {
    await this.#renew(settings);
    await this.#server.join(this.#place.listensAt);
    setInterval(() => this.#borrower.look(), lookMs);
    setInterval(() => this.#tell(undefined), tellMs);
    say({ kind: 'listening' });
  }

  hear(words: ToFront): void {
    switch (words.kind) {
      case 'hold':
        this.#holdAll();
        return say({ kind: 'held', turn: words.turn });
      case 'take': {
        const turn = ++this.#turn;
        if (keepsOld && turn > 1) return;
        this.#taking = this.#taking.then(() => this.#take(words, turn));
        return;
      }
      case 'lent':
        return this.#borrower.lent(words.name, words.count);
      case 'recall':
        return this.#borrower.recall(words.name);
      case 'watched':
        return this.#watch(words.isWatched);
      case 'tell':
        return this.#tell(words.turn);
      case 'leave':
        return this.#server.leave();
      case 'close':
        return void this.#close();
      case 'begin':
        throw new Error('a front was told twice to begin');
    }
  }

  /** Whether the request is for the owner, which then has it. */
  #passesOn(request: IncomingMessage, response: ServerResponse): boolean {
    this.#notBegun();
    if (this.#isMine(request)) {
      this.#answered++;
      return false;
    }
    this.#passed++;
    this.#relay.pass(request, response);
    return true;
  }

  /** A slot of its function has been taken then, which its call gives back; or this does, where none comes of it. */
  #isMine({ url = '', headers }: IncomingMessage): boolean {
    if (this.#isHolding || !url.startsWith(prefix)) return false;
    if (headers['x-invoke-mode'] !== undefined || headers['prefer'] !== undefined) return false;
    const end = url.slice(prefix.length).search(/[/?]/);
    const entry = this.#calls?.ready(
      end === -1 ? url.slice(prefix.length) : url.slice(prefix.length, prefix.length + end),
    );
    if (!entry || !this.#borrower.tryTake(entry.name)) return false;
    this.#letIn = entry.name;
    queueMicrotask(this.#notBegun);
    return true;
  }

  #release(name: string): void {
    this.#settled++;
    this.#borrower.release(name);
  }

  /** Nothing is answered here from now on, and no slot is kept that no call has. */
  #holdAll(): void {
    this.#turn++;
    this.#isHolding = !keepsOld;
    this.#borrower.recallAll();
  }

  async #take({ settings, put, removed }: Extract<ToFront, { kind: 'take' }>, turn: number): Promise<void> {
    if (settings) await this.#renew(settings);
    await this.#calls?.remove(removed);
    await this.#calls?.put(put);
    if (turn === this.#turn) this.#isHolding = false; // Else it has been told to wait for another one.
  }

  /** What is under way ends by the settings by which it began. */
  async #renew(settings: FrontSettings): Promise<void> {
    for (const secret of settings.secrets) this.#secrets.add(secret);
    const before = this.#calls;
    this.#calls = await FrontCalls.start(settings, {
      registry: this.#registry,
      clock: systemClock,
      logger: this.#logger,
      meter: this.#meter,
      events: this.#events,
      tracing: this.#tracing,
      baseFolder: this.#place.baseFolder,
      onBegun: () => (this.#letIn = undefined),
      onEnded: (name) => this.#release(name),
    });
    this.#server.serve(this.#calls.routes);
    void before?.stop(settings.gateway.shutdown.drain);
  }

  #watch(isWatched: boolean): void {
    this.#watching?.unsubscribe();
    this.#watching = isWatched ? this.#events.all.subscribe((event) => say({ kind: 'event', event })) : undefined;
  }

  #tell(turn: number | undefined): void {
    const attempts = this.#meter.takeNews();
    const [answered, settled, passed, ended] = [this.#answered, this.#settled, this.#passed, this.#ended];
    const news: FrontNews = { attempts, answered, settled, passed, ended };
    const isNews = attempts.length + answered + settled + passed + ended.length > 0;
    this.#answered = this.#settled = this.#passed = 0;
    this.#ended = [];
    if (isNews || turn !== undefined) say({ kind: 'told', news, turn });
  }

  async #close(): Promise<void> {
    // What comes over connections that still end is the owner's to refuse.
    this.#holdAll();
    await this.#server.close();
    this.#relay.close();
    await this.#tracing?.stop();
    this.#tell(undefined);
    say({ kind: 'closed' });
  }
}
