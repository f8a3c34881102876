import { Subject } from 'rxjs';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { systemClock } from '../core/contracts/clock.ts';
import { Delivery, type DeliveryRequest, type Settlement } from '../core/contracts/delivery.ts';
import type { Outcome } from '../core/contracts/invocation.ts';
import type { Provider } from '../core/contracts/provider.ts';
import { Deadlines } from '../core/delivery/deadlines.ts';
import { Catalog } from '../core/functions/catalog.ts';
import { Meter } from '../core/observe/meter.ts';
import { RecentInvocations } from '../core/observe/recent-invocations.ts';
import { analyze } from '../core/pipeline/analyze.ts';
import { decide } from '../core/pipeline/decide.ts';
import { execute } from '../core/pipeline/execute.ts';
import { lookup } from '../core/pipeline/lookup.ts';
import { pipeline } from '../core/pipeline/pipeline.ts';
import { respond } from '../core/pipeline/respond.ts';
import type { PipelineServices } from '../core/pipeline/stage.ts';
import { testAuthenticator } from '../test/support/authenticator.ts';

export interface PipelineFigures {
  /** Microseconds an invocation. */
  readonly pipelineUs: number;
  readonly awaitedUs: number;
  readonly overheadUs: number;
}

const outcome: Outcome = { status: 200, headers: {}, body: 'ok', durationMs: 0, failure: undefined, error: undefined };

/**
 * The bare overhead of the RxJS pipeline: the same five stages over the same provider, once through the operator and
 * once awaited in a row, 64 in flight, in alternating rounds; the median of each.
 */
export async function measurePipeline(rounds = 9, perRound = 100_000): Promise<PipelineFigures> {
  const services = bareServices();
  const awaited: number[] = [];
  const piped: number[] = [];
  for (let round = -2; round < rounds; round++) {
    const inRow = await closedLoop(perRound, inARow(services));
    const inPipe = await closedLoop(perRound, piping(services));
    if (round < 0) continue; // Warm-up.
    awaited.push(inRow);
    piped.push(inPipe);
  }
  const pipelineUs = median(piped);
  const awaitedUs = median(awaited);
  return { pipelineUs, awaitedUs, overheadUs: pipelineUs - awaitedUs };
}

type Run = (settled: () => void) => () => void;

/** Keeps 64 in flight until `count` are done; microseconds for each. */
async function closedLoop(count: number, run: Run): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let started = 0;
  let ended = 0;
  const next = run(() => {
    ended++;
    if (ended === count) resolve();
    else if (started < count) {
      started++;
      next();
    }
  });
  const startedAt = performance.now();
  for (let first = 0; first < 64; first++) {
    started++;
    next();
  }
  await promise;
  return ((performance.now() - startedAt) * 1000) / count;
}

function inARow(services: PipelineServices): Run {
  const stages = [analyze(services), lookup(services), decide(services)];
  const run = execute(services, (one) => one instanceof Awaited && one.ended.resolve());
  const settle = respond(services);
  return (settled) => {
    const settlement: Settlement = { kind: 'replies', settle: settled };
    return () => void once(new Awaited('bench', request(), settlement));
  };
  async function once(one: Awaited): Promise<void> {
    for (const stage of stages) {
      const pending = stage(one);
      if (pending) await pending;
    }
    run(one);
    await one.ended.promise;
    await settle(one);
  }
}

class Awaited extends Delivery {
  readonly ended = Promise.withResolvers<void>();
}

function piping(services: PipelineServices): Run {
  return (settled) => {
    const settlement: Settlement = { kind: 'replies', settle: settled };
    const source = new Subject<Delivery>();
    source.pipe(pipeline(services)).subscribe();
    return () => source.next(new Delivery('bench', request(), settlement));
  };
}

function request(): DeliveryRequest {
  return { function: 'noop', method: 'POST', path: '', query: '', headers: {}, body: null };
}

function bareServices(): PipelineServices {
  const catalog = new Catalog('openfaas-fn', systemClock);
  const provider: Provider = {
    start: async () => undefined,
    deploy: async () => undefined,
    remove: async () => undefined,
    invoke: async () => outcome,
    stop: async () => undefined,
  };
  const name = 'noop.openfaas-fn';
  const retry = {
    attempts: 1,
    backoff: { kind: 'fixed', initialMs: 1, factor: 1, maxMs: 1, jitter: 'none' },
    retryOn: [],
    failOn: [],
    retryAfter: { honour: false, maxMs: 0 },
  } as const;
  catalog.add(
    { name, provider: 'bench', config: {}, env: {}, labels: {}, annotations: {} },
    {
      auth: undefined,
      timeoutMs: 30_000,
      concurrency: 1000,
      waiting: 0,
      queue: 'default',
      retry,
      priority: 5,
      maxAgeMs: undefined,
      result: { store: false, ttlMs: 0 },
      onSuccess: [],
      onFailure: [],
      scale: undefined,
    },
    provider,
  );
  catalog.report({ name, state: 'ready', replicas: 1, availableReplicas: 1, capacity: 1000 });
  return {
    catalog,
    clock: systemClock,
    deadlines: new Deadlines(systemClock),
    recent: new RecentInvocations(),
    tracing: undefined,
    logger: pino({ level: 'silent' }),
    meter: new Meter(new Registry()),
    emit: () => undefined,
    queues: new Map(),
    authenticator: testAuthenticator(),
    functionAuth: 'public',
    standardRetry: retry,
    limits: { asyncBody: 1, resultBody: 1, waiting: 1, depth: 16, dedupWindowMs: 1 },
    checkCallback: () => undefined,
    callbackFunction: () => undefined,
    waitingRoom: { now: 0 },
    wake: async () => undefined,
    stopping: () => false,
  };
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

if (process.argv[1] === import.meta.filename) {
  console.log(await measurePipeline());
  process.exit(0);
}
