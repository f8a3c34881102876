import { setTimeout as wait } from 'node:timers/promises';
import { errors, Pool, request } from 'undici';
import { expect, it } from 'vitest';
import { eventually, testGateway } from '../support/gateway.ts';
import { bodyOf, serve } from '../support/http-functions.ts';
import { saw, seed, times } from '../support/promise.ts';

const calls = Number(process.env['MILLRACE_PROXY_CALLS'] ?? times(20_000, 200_000));
const callers = 64;

/** A number from 0 up to `below`, the same for the same seed and index. */
function pick(seed: number, index: number, below: number): number {
  return (Math.imul(seed ^ (index * 2_654_435_761), 2_246_822_519) >>> 0) % below;
}

interface Tally {
  answered: number;
  aborted: number;
  /** The upstream has broken off: told by 502, or by the end of the connection. */
  broken: number;
  /** Answers to another call. */
  swapped: number;
  /** Calls that the upstream was given more than once: none of them may be repeated. */
  repeated: number;
  /** Of the gauge of calls in flight, when all was over. */
  left: number;
}

/** What goes wrong on purpose: the upstream mixes its answers up; the gateway is asked a last time while a call lasts. */
type Fault = 'swaps' | 'lasts';

/** So many calls with bodies of their own, some of them aborted by who asks, some broken off by who answers. */
async function storm(calls: number, seed: number, fault?: Fault): Promise<Tally> {
  let served = 0;
  let before: Buffer | undefined;
  const given = new Map<unknown, number>();
  // Some answers come in one piece, some in several, some late, and some never.
  await using upstream = await serve(async (request, response) => {
    const callId = request.headers['x-call-id'];
    given.set(callId, (given.get(callId) ?? 0) + 1);
    if (callId === 'lasts') return;
    const got = await bodyOf(request).catch(() => undefined);
    if (!got) return; // The caller has gone.
    const body = fault === 'swaps' && before && served % 100 === 0 ? before : got;
    before = got;
    const how = pick(seed, ++served, 8);
    if (pick(seed, served, 97) === 0) return void request.socket.resetAndDestroy();
    if (how === 0) await wait(2);
    if (how > 1) return void response.end(body);
    response.write(body.subarray(0, 10));
    if (pick(seed, served, 61) === 0) return void setImmediate(() => request.socket.resetAndDestroy());
    setImmediate(() => response.end(body.subarray(10)));
  });
  await using gateway = await testGateway(`
gateway: { listen: { port: 0 }, management: { port: 0 }, limits: { inFlight: 5000 } }
providers: { http: { kind: http, connections: ${callers} } }
functions: { echo: { url: "${upstream.url}", invoke: { concurrency: ${callers}, waiting: 5000 } } }
connectors: { http: { kind: http, credit: 5000 } }
`);
  const pool = new Pool(gateway.url, { connections: callers });
  const tally: Tally = { answered: 0, aborted: 0, broken: 0, swapped: 0, repeated: 0, left: 0 };

  async function call(index: number): Promise<void> {
    const text = `call ${index} of ${seed} ${'x'.repeat(pick(seed, index, 3000))}`;
    const aborting = pick(seed, index + 1, 4) === 0 ? new AbortController() : undefined;
    // At once, after some turns of the loop, or when it may have been answered already.
    if (aborting) setTimeout(() => aborting.abort(), pick(seed, index + 2, 6));
    try {
      const headers = { 'x-call-id': `call-${index}` };
      const options = { method: 'POST' as const, path: '/function/echo', headers, body: text };
      const {
        statusCode,
        headers: got,
        body,
      } = await pool.request({ ...options, ...(aborting && { signal: aborting.signal }) });
      const answer = await body.text();
      if (statusCode === 502) return void tally.broken++;
      expect(statusCode).toBe(200);
      if (answer === text && got['x-call-id'] === headers['x-call-id']) tally.answered++;
      else tally.swapped++;
    } catch (error) {
      if (aborting?.signal.aborted) tally.aborted++;
      // After its first bytes there is no status left to tell it by.
      else if (error instanceof errors.SocketError) tally.broken++;
      else throw error;
    }
  }

  let next = 0;
  const caller = async (): Promise<void> => {
    while (next < calls) await call(next++);
  };
  await Promise.all(Array.from({ length: callers }, caller));
  if (fault === 'lasts')
    void pool
      .request({ method: 'POST', path: '/function/echo', headers: { 'x-call-id': 'lasts' } })
      .catch(() => undefined);
  if (fault === 'lasts') await eventually(() => (given.has('lasts') ? true : undefined));
  // What was aborted last may still be on its way to the upstream.
  for (let tries = 0; tries < 100; tries++) {
    tally.left = await inFlight(gateway.gateway.managementUrl);
    if (tally.left === 0) break;
    await wait(fault === 'lasts' ? 1 : 50);
  }
  await pool.destroy();
  tally.repeated = [...given.values()].filter((count) => count > 1).length;
  return tally;
}

/** What the gateway says of calls that run. */
async function inFlight(management: string): Promise<number> {
  const text = await (await request(`${management}/metrics`)).body.text();
  const [, count] = /^gateway_function_invocation_inflight\{function_name="echo\.[^}]*\} (\d+)$/m.exec(text) ?? [];
  expect(count).toBeDefined();
  return Number(count);
}

it(
  `no answer of ${calls}, some of them aborted, is that to another call, none is asked for twice, and none is left (P28)`,
  async ({ task }) => {
    const { answered, aborted, broken, swapped, repeated, left } = await storm(calls, seed);
    expect({ swapped, repeated, left }, `MILLRACE_SEED=${seed}`).toEqual({ swapped: 0, repeated: 0, left: 0 });
    expect(answered + aborted + broken).toBe(calls);
    expect(aborted).toBeGreaterThan(calls / 100);
    expect(broken).toBeGreaterThan(calls / 1000);
    const [all, gone, reset] = [calls, aborted, broken].map((count) => count.toLocaleString('en'));
    const result = `${all} calls, ${gone} aborted, ${reset} broken off by the upstream: 0 swapped, 0 repeated, 0 left in flight`;
    saw(task, { seed, result });
  },
  Math.max(120_000, calls * 10),
);

it('an upstream that mixes its answers up is found out, and so is a call that is left', async () => {
  expect((await storm(1000, seed, 'swaps')).swapped).toBeGreaterThan(0);
  expect((await storm(100, seed, 'lasts')).left).toBe(1);
});
