import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type GatewayProcess, startGateway, stopGateway } from '../support/gateway-process.ts';
import { eventually, inlinePlugin, testGateway } from '../support/gateway.ts';
import { processStatus } from '../support/processes.ts';
import { saw, times } from '../support/promise.ts';

const limitsMs = { headerTime: 1500, idle: 1500, bodyTime: 2000 };
const each = times(100, 300);

let folder: string;
let gateway: GatewayProcess;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-slow-'));
  const file = join(folder, 'millrace.yaml');
  const http = `{ headerTime: ${limitsMs.headerTime}ms, idle: ${limitsMs.idle}ms, bodyTime: ${limitsMs.bodyTime}ms }`;
  writeFileSync(
    file,
    `
plugins: [${inlinePlugin}]
gateway: { listen: { port: 0 }, management: { port: 0 }, limits: { http: ${http} } }
queues: { default: { kind: memory, allowVolatile: true } }
stores: { default: { kind: memory } }
providers: { inline: { kind: inline-test } }
connectors: { http: { kind: http } }
functions:
  good: { behaviour: echo }
  takes: { behaviour: recites, invoke: { timeout: 10m, concurrency: 1000 } }
  floods: { behaviour: floods, invoke: { timeout: 10m, concurrency: 1000 } }
`,
  );
  gateway = await startGateway(file);
});
afterAll(async () => {
  expect(await stopGateway(gateway)).toBe(0);
  rmSync(folder, { recursive: true });
});

const post = (path: string): string =>
  `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n`;
/** Where a body is read by a function, by the gateway for a queue, and by the API. */
const places = ['/function/takes', '/async-function/good', '/system/dead-letters/replay'];

interface Kind {
  /** What it sends at first; the number is the connection's. */
  readonly first: (number: number) => string;
  /** It goes on, byte by byte. */
  readonly drips?: boolean;
  /** It takes nothing of what comes. */
  readonly reads?: false;
  readonly limitMs: number;
}

const kinds: Readonly<Record<string, Kind>> = {
  'says nothing': { first: () => '', limitMs: limitsMs.headerTime },
  'stops in its head': { first: () => 'GET /function/good HTTP/1.1\r\nHost', limitMs: limitsMs.headerTime },
  'drips its head': { first: () => 'GET /function/good HTTP/1.1\r\nX: ', drips: true, limitMs: limitsMs.headerTime },
  'stops in its body': { first: (number) => `${post(places[number % 3] ?? '')}[`, limitMs: limitsMs.idle },
  'drips its body': {
    first: (number) => `${post(places[number % 3] ?? '')}[`,
    drips: true,
    limitMs: limitsMs.bodyTime,
  },
  'drips on when it has been refused': { first: () => 'nonsense\r\n\r\n', drips: true, limitMs: limitsMs.bodyTime },
  'drips on when it has been answered': {
    first: () => post('/function/nothing'),
    drips: true,
    limitMs: limitsMs.bodyTime,
  },
};

const unreading: Kind = {
  first: () => 'GET /function/floods HTTP/1.1\r\nHost: h\r\n\r\n',
  reads: false,
  limitMs: limitsMs.idle,
};

/** Resolves with how long the connection lasted, ms. */
function lasting(kind: Kind, number: number): Promise<number> {
  return new Promise((resolve) => {
    const startedAt = performance.now();
    let timer: NodeJS.Timeout | undefined;
    const port = Number(new URL(gateway.url).port);
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true }, () => {
      socket.write(kind.first(number));
      // Who does not read is not told of the end either: a byte that is sent finds it out.
      if (kind.drips || kind.reads === false) timer = setInterval(() => socket.write('1'), 250);
    });
    if (kind.reads !== false) socket.resume();
    if (!kind.drips) socket.on('end', () => socket.end());
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearInterval(timer);
      resolve(performance.now() - startedAt);
    });
  });
}

interface GoodTraffic {
  calls: number;
  errors: number;
  slowestMs: number;
}

/** Calls one after another over a few connections, until the signal aborts. */
async function goodTraffic(signal: AbortSignal): Promise<GoodTraffic> {
  const seen: GoodTraffic = { calls: 0, errors: 0, slowestMs: 0 };
  const dispatcher = new Agent({ connections: 8, pipelining: 1 });
  const caller = async (): Promise<void> => {
    while (!signal.aborted) {
      const body = `good ${seen.calls++}`;
      const startedAt = performance.now();
      try {
        const answer = await request(`${gateway.url}/function/good`, { method: 'POST', body, dispatcher });
        if (answer.statusCode !== 200 || (await answer.body.text()) !== body) seen.errors++;
      } catch {
        seen.errors++;
      }
      seen.slowestMs = Math.max(seen.slowestMs, performance.now() - startedAt);
    }
  };
  await Promise.all(Array.from({ length: 8 }, caller));
  await dispatcher.destroy();
  return seen;
}

const residentMiB = (): number => processStatus(gateway.child.pid ?? 0, 'VmRSS') / 1024;

describe('callers who let the gateway wait', () => {
  it('are ended in time, and nobody else notices (P17)', { timeout: 120_000 }, async ({ task }) => {
    const over = new AbortController();
    const good = goodTraffic(over.signal);
    const before = residentMiB();
    let most = before;
    const watch = setInterval(() => (most = Math.max(most, residentMiB())), 100);
    // How long the system takes bytes for one who does not read is its own affair: he is only to be ended.
    const unread = Array.from({ length: each }, (_, number) => lasting(unreading, number));
    const lasted = await Promise.all(
      Object.values(kinds).flatMap((kind) =>
        Array.from({ length: each }, async (_, number) => (await lasting(kind, number)) - kind.limitMs),
      ),
    );
    await Promise.all(unread);
    clearInterval(watch);
    over.abort();
    const { calls, errors, slowestMs } = await good;
    expect(errors).toBe(0);
    expect(calls).toBeGreaterThan(100);
    const latest = Math.max(...lasted);
    // On a machine that lets everybody wait, the end of a connection waits, too.
    expect(latest).toBeLessThan(5000 + 5 * slowestMs);
    // What is not read is not read ahead: a piece in hand, and what the system buffers is not the process's.
    expect(most - before).toBeLessThan(100 + each * 0.5);
    saw(task, {
      result:
        `${lasted.length + each} slow connections of ${Object.keys(kinds).length + 1} kinds, ended ${latest.toFixed()} ms after their limit at the latest; ` +
        `${calls} good calls, ${errors} errors; ${(most - before).toFixed()} MiB more`,
    });
  });

  it('and are counted', async () => {
    const { body } = await request(`${gateway.management}/metrics`);
    const text = await body.text();
    const count = (reason: string): number =>
      Number(new RegExp(`millrace_http_connections_ended_total\\{reason="${reason}"\\} (\\d+)`).exec(text)?.[1]);
    expect(count('idle')).toBeGreaterThanOrEqual(each);
    expect(count('slow')).toBeGreaterThanOrEqual(2 * each);
    // Who does not read is one or the other, as the system still takes a byte for him or not.
    expect(count('idle') + count('slow')).toBeGreaterThanOrEqual(4 * each);
    expect([count('connections'), count('address')]).toEqual([0, 0]);
  });
});

describe('a body that goes on', () => {
  it('may take longer than bodyTime, and an answer may be read as slowly', { timeout: 60_000 }, async () => {
    const socket = connect(Number(new URL(gateway.url).port), '127.0.0.1');
    const closed = new Promise((resolve) => socket.once('close', resolve));
    const length = 24 * 1024;
    socket.write(`POST /function/takes HTTP/1.1\r\nHost: h\r\nContent-Length: ${length}\r\nConnection: close\r\n\r\n`);
    let text = '';
    socket.on('data', (bytes: Buffer) => (text += bytes.toString('latin1')));
    // A KiB each 150 ms: 3.6 s in all, where a drip has 2.
    for (let sent = 0; sent < length; sent += 1024) {
      socket.write(Buffer.alloc(1024, 'x'));
      await new Promise((resolve) => setTimeout(resolve, 150));
    }
    await closed;
    expect(text).toContain(' 200 OK');
    expect(text.endsWith('x'.repeat(length))).toBe(true);
  });
});

describe('more connections than there may be', () => {
  it('are refused at once, by address and in all, and taken again when there is room', async () => {
    const limits = 'limits: { http: { connections: 15, connectionsPerAddress: 10 } }';
    await using running = await testGateway(
      `gateway: { listen: { port: 0 }, management: { port: 0 }, ${limits} }\nfunctions: { echo: { behaviour: echo } }`,
    );
    const port = Number(new URL(running.url).port);
    const sockets: Socket[] = [];
    const ask = (localAddress: string): Promise<number> =>
      new Promise((resolve) => {
        const socket = connect({ port, host: '127.0.0.1', localAddress }, () =>
          socket.write('GET /function/echo HTTP/1.1\r\nHost: h\r\n\r\n'),
        );
        sockets.push(socket);
        socket.on('error', () => resolve(0));
        socket.on('data', (bytes: Buffer) => resolve(Number(/ (\d{3}) /.exec(bytes.toString())?.[1])));
        socket.on('close', () => resolve(0));
      });
    const many = async (address: string, count: number): Promise<number[]> => {
      const statuses: number[] = [];
      for (let index = 0; index < count; index++) statuses.push(await ask(address));
      return statuses;
    };
    /** What was refused may be told by the answer, or by the end alone. */
    const refused = (status: number, statuses: readonly number[]): boolean =>
      statuses.every((each) => each === status || each === 0);
    expect(await many('127.0.0.1', 10)).toEqual(Array.from({ length: 10 }, () => 200));
    expect(refused(429, await many('127.0.0.1', 3))).toBe(true);
    expect(await many('127.0.0.2', 5)).toEqual(Array.from({ length: 5 }, () => 200));
    expect(refused(503, await many('127.0.0.3', 3))).toBe(true);
    sockets[0]?.destroy();
    await eventually(async () => ((await ask('127.0.0.1')) === 200 ? true : undefined));
    for (const socket of sockets) socket.destroy();
    await eventually(async () => ((await ask('127.0.0.3')) === 200 ? true : undefined));
    for (const socket of sockets) socket.destroy();
  });
});
