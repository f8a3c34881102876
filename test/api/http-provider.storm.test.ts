import { randomBytes } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { Pool } from 'undici';
import { expect, it } from 'vitest';
import { testGateway } from '../support/gateway.ts';
import { bodyOf, serve } from '../support/http-functions.ts';

/** `MILLRACE_PROXY_CALLS=200000` for as long as a release deserves. */
const calls = Number(process.env['MILLRACE_PROXY_CALLS'] ?? 20_000);
const callers = 64;

/** A number from 0 up to `below`, the same for the same seed and index. */
function pick(seed: number, index: number, below: number): number {
  return (Math.imul(seed ^ (index * 2_654_435_761), 2_246_822_519) >>> 0) % below;
}

interface Tally {
  answered: number;
  aborted: number;
  /** Answers to another call. */
  swapped: number;
}

/** So many calls with bodies of their own, some of them aborted. `swaps`: the upstream mixes its answers up. */
async function storm(calls: number, seed: number, swaps = false): Promise<Tally> {
  let served = 0;
  let before: Buffer | undefined;
  // Some answers come in one piece, some in several, and some late.
  await using upstream = await serve(async (request, response) => {
    const got = await bodyOf(request).catch(() => undefined);
    if (!got) return; // The caller has gone.
    const body = swaps && before && served % 100 === 0 ? before : got;
    before = got;
    const how = pick(seed, ++served, 8);
    if (how === 0) await wait(2);
    if (how > 1) return void response.end(body);
    response.write(body.subarray(0, 10));
    setImmediate(() => response.end(body.subarray(10)));
  });
  await using gateway = await testGateway(`
gateway: { listen: { port: 0 }, management: { port: 0 }, limits: { inFlight: 5000 } }
providers: { http: { kind: http, connections: ${callers} } }
functions: { echo: { url: "${upstream.url}", invoke: { concurrency: ${callers}, waiting: 5000 } } }
connectors: { http: { kind: http, credit: 5000 } }
`);
  const pool = new Pool(gateway.url, { connections: callers });
  const tally: Tally = { answered: 0, aborted: 0, swapped: 0 };

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
      expect(statusCode).toBe(200);
      if (answer === text && got['x-call-id'] === headers['x-call-id']) tally.answered++;
      else tally.swapped++;
    } catch (error) {
      if (!aborting?.signal.aborted) throw error;
      tally.aborted++;
    }
  }

  let next = 0;
  const caller = async (): Promise<void> => {
    while (next < calls) await call(next++);
  };
  await Promise.all(Array.from({ length: callers }, caller));
  await pool.close();
  return tally;
}

const seed = Number(process.env['MILLRACE_SEED'] ?? randomBytes(4).readUInt32LE());

it(
  `no answer of ${calls}, some of them aborted, is that to another call`,
  async () => {
    const { answered, aborted, swapped } = await storm(calls, seed);
    expect(swapped, `MILLRACE_SEED=${seed}`).toBe(0);
    expect(answered + aborted).toBe(calls);
    expect(aborted).toBeGreaterThan(calls / 100);
  },
  Math.max(120_000, calls * 10),
);

it('an upstream that mixes its answers up is found out', async () => {
  expect((await storm(1000, seed, true)).swapped).toBeGreaterThan(0);
});
