import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type GatewayProcess, startGateway, stopGateway } from '../support/gateway-process.ts';
import { eventually } from '../support/gateway.ts';
import { bodyOf, type RunningServer, serve } from '../support/http-functions.ts';
import { childrenOf, isRunning } from '../support/processes.ts';
import { saw, times } from '../support/promise.ts';
import { sendRaw } from '../support/raw-client.ts';

/** Answers who it is, and lets calls of `/slow` wait until they are let go. */
class Upstream implements AsyncDisposable {
  readonly #server: RunningServer;
  running = 0;
  most = 0;
  readonly forwardedFor: string[] = [];
  readonly #held: (() => void)[] = [];

  private constructor(server: RunningServer) {
    this.#server = server;
  }

  static async start(name: string): Promise<Upstream> {
    const server = await serve(async (incoming, answer) => {
      upstream.most = Math.max(upstream.most, ++upstream.running);
      answer.once('close', () => upstream.running--);
      upstream.forwardedFor.push(String(incoming.headers['x-forwarded-for']));
      const body = await bodyOf(incoming);
      if (incoming.url?.startsWith('/slow')) await new Promise<void>((go) => upstream.#held.push(go));
      else if (incoming.url?.startsWith('/narrow')) await wait(5);
      answer.end(`${name} ${body.toString()}`);
    });
    const upstream = new Upstream(server);
    return upstream;
  }

  get url(): string {
    return this.#server.url;
  }

  get held(): number {
    return this.#held.length;
  }

  letGo(): void {
    for (const go of this.#held.splice(0)) go();
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#server[Symbol.asyncDispose]();
  }
}

const configuration = (first: Upstream, echo: Upstream = first, processes = 3) => `
gateway:
  processes: ${processes}
  listen: { port: 0 }
  management: { port: 0 }
  shutdown: { drain: 20s }
queues: { default: { kind: sqlite, path: ./queue.db } }
stores: { default: { kind: memory } }
providers: { http: { kind: http } }
functions:
  echo: { url: "${echo.url}/echo", invoke: { concurrency: 64 } }
  narrow: { url: "${first.url}/narrow", invoke: { concurrency: 4, waiting: 1000, timeout: 60s } }
  slow: { url: "${first.url}/slow", invoke: { concurrency: 32 } }
`;

let first: Upstream;
let second: Upstream;
const gateways: GatewayProcess[] = [];
beforeAll(async () => {
  [first, second] = await Promise.all([Upstream.start('first'), Upstream.start('second')]);
});
afterEach(async () => {
  first.letGo();
  for (const { child, ended } of gateways.splice(0)) {
    child.kill('SIGKILL');
    await ended;
  }
});
afterAll(async () => {
  await first[Symbol.asyncDispose]();
  await second[Symbol.asyncDispose]();
});

async function started(text: string, env: Record<string, string> = {}) {
  const file = join(mkdtempSync(join(tmpdir(), 'millrace-processes-')), 'millrace.yaml');
  writeFileSync(file, text);
  const gateway = await startGateway(file, env);
  gateways.push(gateway);
  return { ...gateway, file };
}

/** The processes in front of that gateway. */
function frontsOf({ child }: GatewayProcess): number[] {
  return childrenOf(child.pid ?? 0)
    .map(({ pid }) => pid)
    .filter(isRunning);
}

async function metric({ management }: GatewayProcess, name: string): Promise<number> {
  const text = await (await request(`${management}/metrics`)).body.text();
  return Number(
    text
      .split('\n')
      .find((line) => line.startsWith(`${name} `))
      ?.slice(name.length) ?? Number.NaN,
  );
}

/** Callers with a connection each, one call after another, until they are told to stop. */
class Callers {
  answered = 0;
  readonly words = new Set<string>();
  readonly statuses = new Map<number, number>();
  broken = 0;
  readonly #stop = new AbortController();
  readonly #done: Promise<unknown>;

  constructor({ url }: { readonly url: string }, path: string, count: number) {
    this.#done = Promise.all(Array.from({ length: count }, () => this.#call(`${url}${path}`)));
  }

  async more(count: number): Promise<void> {
    const enough = this.answered + count;
    await eventually(() => (this.answered >= enough ? true : undefined));
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#done;
  }

  async #call(url: string): Promise<void> {
    const agent = new Agent({ connections: 1 });
    while (!this.#stop.signal.aborted) {
      try {
        const { statusCode, body } = await request(url, { method: 'POST', body: 'x', dispatcher: agent });
        this.words.add(await body.text());
        this.statuses.set(statusCode, (this.statuses.get(statusCode) ?? 0) + 1);
        this.answered++;
      } catch {
        this.broken++;
        await wait(20);
      }
    }
    await agent.destroy();
  }
}

describe('a gateway of several processes', { timeout: 120_000 }, () => {
  it('keeps the bounds of a function over all of them, and tells true figures', async ({ task }) => {
    const gateway = await started(configuration(first, second));
    first.most = 0;
    const narrow = new Callers(gateway, '/function/narrow', 24);
    const echo = new Callers(gateway, '/function/echo', 12);
    await echo.more(times(600, 20_000));
    await narrow.stop();
    await echo.stop();
    expect([...narrow.statuses.keys(), ...echo.statuses.keys()]).toEqual([200, 200]);
    expect(first.most).toBeLessThanOrEqual(4);
    const begun = await metric(gateway, 'gateway_function_invocation_started{function_name="narrow.openfaas-fn"}');
    expect(begun).toBe(narrow.answered);
    const ended = await metric(
      gateway,
      'gateway_function_invocation_total{function_name="echo.openfaas-fn",code="200"}',
    );
    expect(ended).toBe(echo.answered);
    const inFront = await metric(gateway, 'millrace_front_calls_total{by="answered"}');
    expect(inFront).toBeGreaterThan(0);
    const functions = (await (await request(`${gateway.url}/system/functions`)).body.json()) as {
      name: string;
      invocationCount: number;
    }[];
    expect(functions.find(({ name }) => name === 'echo')?.invocationCount).toBe(echo.answered);
    expect(await stopGateway(gateway)).toBe(0);
    saw(task, { result: `${narrow.answered + echo.answered} calls, ${inFront} of them answered in front` });
  });

  // What a caller says of himself, and how a process in front says it to the owner.
  it('believes no caller who says what only its own processes may say', async () => {
    const gateway = await started(configuration(first));
    const port = Number(new URL(gateway.url).port);
    first.forwardedFor.length = 0;
    const sent = 30;
    for (let index = 0; index < sent; index++) {
      const target = index % 2 === 0 ? '/function/echo' : '/203.0.113.7/80/function/echo';
      const head = `Host: h\r\nX-Forwarded-For: 203.0.113.7\r\nConnection: x-forwarded-for\r\n`;
      const { statuses } = await sendRaw(port, `GET ${target} HTTP/1.1\r\n${head}\r\n`, 1, 1);
      expect(statuses).toEqual([index % 2 === 0 ? 200 : 404]);
    }
    expect(await metric(gateway, 'millrace_front_calls_total{by="passed"}')).toBeGreaterThan(0);
    expect(first.forwardedFor).toHaveLength(sent / 2);
    for (const address of first.forwardedFor) expect(address).toMatch(/^127\.0\.0\.1:\d+$/);
  });

  it('loses the calls of a process that is killed, no others, and starts it again', async ({ task }) => {
    const gateway = await started(configuration(first));
    const echo = new Callers(gateway, '/function/echo', 24);
    const queued = new Callers(gateway, '/async-function/echo', 4);
    await echo.more(200);
    const [victim = 0] = frontsOf(gateway);
    process.kill(victim, 'SIGKILL');
    await echo.more(200);
    await eventually(async () => ((await metric(gateway, 'millrace_fronts')) === 2 ? true : undefined));
    expect(frontsOf(gateway)).toHaveLength(2);
    await queued.stop();
    await echo.stop();
    expect([...echo.statuses.keys(), ...queued.statuses.keys()]).toEqual([200, 202]);
    expect(echo.broken).toBeLessThanOrEqual(24);
    expect(await metric(gateway, 'millrace_front_restarts_total')).toBe(1);
    const inFlight = 'gateway_function_invocation_inflight{function_name="echo.openfaas-fn"}';
    await eventually(async () => ((await metric(gateway, inFlight)) === 0 ? true : undefined));
    const succeeded = 'millrace_queue_succeeded_total{queue="default",function_name="echo.openfaas-fn"}';
    const accepted = await metric(gateway, succeeded.replace('succeeded', 'accepted'));
    expect(accepted).toBeGreaterThanOrEqual(queued.answered);
    await eventually(async () => ((await metric(gateway, succeeded)) === accepted ? true : undefined));
    saw(task, {
      result: `${echo.answered} calls, ${echo.broken} broken off by the kill, ${accepted} accepted, 0 lost`,
    });
  });

  it('ends as a whole when its owner is killed', async () => {
    const gateway = await started(configuration(first));
    const fronts = frontsOf(gateway);
    expect(fronts).toHaveLength(2);
    gateway.child.kill('SIGKILL');
    await gateway.ended;
    await eventually(() => (fronts.some(isRunning) ? undefined : true));
  });

  it('takes up another configuration in all of them at once, without a call lost (P24)', async ({ task }) => {
    const gateway = await started(configuration(first));
    const callers = new Callers(gateway, '/function/echo', 24);
    await callers.more(200);
    const changes = times(4, 50);
    for (let change = 0; change < changes; change++) {
      const stale = await reload(gateway, configuration(first, change % 2 === 0 ? second : first));
      await callers.more(20);
      expect(stale).toEqual([]);
    }
    writeFileSync(gateway.file, `${configuration(first)}  wrong: { url: nowhere }\n`);
    gateway.child.kill('SIGHUP');
    await eventually(() => (gateway.log.some((line) => line.includes('"result":"invalid"')) ? true : undefined));
    await callers.more(50);
    await callers.stop();
    expect([callers.broken, [...callers.statuses.keys()]]).toEqual([0, [200]]);
    saw(task, { result: `${changes} reloads under ${callers.answered} calls, 0 lost, 0 by the old configuration` });
  });

  it('answers what is in flight everywhere before it stops (P20)', async ({ task }) => {
    const gateway = await started(configuration(first));
    // The first calls are the owner's: only with them do the others get slots.
    const warm = new Callers(gateway, '/function/echo', 24);
    await warm.more(100);
    await warm.stop();
    const calls = Array.from({ length: 24 }, async () => {
      const agent = new Agent({ connections: 1 });
      const { statusCode, body } = await request(`${gateway.url}/function/slow`, {
        method: 'POST',
        body: 'x',
        dispatcher: agent,
      });
      const text = await body.text();
      await agent.close();
      return [statusCode, text];
    });
    await eventually(() => (first.held === 24 ? true : undefined));
    gateway.child.kill('SIGTERM');
    await eventually(() => (gateway.log.some((line) => line.includes('"msg":"stopping"')) ? true : undefined));
    await expect(eventually(() => request(gateway.url).then(() => undefined))).rejects.toThrow();
    first.letGo();
    expect(await Promise.all(calls)).toEqual(calls.map(() => [200, 'first x']));
    expect(await gateway.ended).toBe(0);
    saw(task, { result: '24 calls in flight in 3 processes, 0 failed' });
  });

  it('refuses a port that somebody else listens on', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as { port: number };
    const text = configuration(first).replace('listen: { port: 0 }', `listen: { port: ${port} }`);
    await expect(started(text)).rejects.toThrow('EADDRINUSE');
    taken.close();
    const holder = await started(configuration(first));
    const second = configuration(first).replace('listen: { port: 0 }', `listen: { port: ${new URL(holder.url).port} }`);
    await expect(started(second)).rejects.toThrow('EADDRINUSE');
  });
});

/** Reloads under load, and returns what was answered by what was in force before, once another one is. */
async function reload(gateway: GatewayProcess & { readonly file: string }, text: string): Promise<string[]> {
  const taken = (): number => gateway.log.filter((line) => line.includes('another configuration is in force')).length;
  const before = taken();
  writeFileSync(gateway.file, text);
  gateway.child.kill('SIGHUP');
  await eventually(() => (taken() > before ? true : undefined));
  const wanted = text.includes(`echo: { url: "${second.url}`) ? 'second x' : 'first x';
  const callers = new Callers(gateway, '/function/echo', 16);
  await callers.more(48);
  await callers.stop();
  return [...callers.words].filter((word) => word !== wanted);
}

describe('these tests find a gateway', { timeout: 120_000 }, () => {
  it('whose processes run what they have no slot for', async () => {
    const gateway = await started(configuration(first), { MILLRACE_PLANT: 'front-without-slots' });
    first.most = 0;
    const narrow = new Callers(gateway, '/function/narrow', 24);
    await narrow.more(200);
    await narrow.stop();
    expect(first.most).toBeGreaterThan(4);
  });

  it('whose processes go on by the old configuration', async () => {
    const gateway = await started(configuration(first), { MILLRACE_PLANT: 'front-keeps-old' });
    const callers = new Callers(gateway, '/function/echo', 24);
    await callers.more(200);
    const stale = await reload(gateway, configuration(first, second));
    await callers.stop();
    expect(stale).toEqual(['first x']);
  });
});
