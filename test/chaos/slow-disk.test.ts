import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Pool } from 'undici';
import { expect, it } from 'vitest';
import { startGateway, stopGateway } from '../support/gateway-process.ts';
import { processStatus } from '../support/processes.ts';
import { saw, times } from '../support/promise.ts';
import { configuration } from './configuration.ts';
import { readLedgers } from './ledgers.ts';
import { SlowDisk, slowDiskNeeds } from './machine/cgroups.ts';
import { describeOnMachine } from './machine/needs.ts';
import { sqlite } from './queues.ts';

/** Each calls about once a second. */
const callers = 400;
/** What the gateway holds at once: fewer than there are callers, if each of their calls takes long. */
const inFlight = 30;
const bodyBytes = 4096;
const mib = 2 ** 20;

interface Seen {
  /** Of calls that were accepted, and of those that need no disk, ms. */
  readonly accept: number;
  readonly sync: number;
  readonly ids: readonly string[];
  readonly refused: number;
  /** What is told of its memory, the most, bytes. */
  readonly memory: number;
}

/** A gateway under that load for a while. */
async function loaded(url: string, pid: number, ms: number): Promise<Seen> {
  await using over = new AsyncDisposableStack();
  const pool = (connections: number): Pool => over.adopt(new Pool(url, { connections }), (each) => each.close());
  const [many, few] = [pool(callers), pool(4)];
  const until = performance.now() + ms;
  const body = Buffer.alloc(bodyBytes, 'x');
  const ids: string[] = [];
  const [accepts, syncs]: [number[], number[]] = [[], []];
  let refused = 0;
  let memory = 0;
  const call = async (to: Pool, path: string, into: number[]): Promise<void> => {
    const since = performance.now();
    const { statusCode, headers, body: answer } = await to.request({ method: 'POST', path, body });
    await answer.dump();
    if (statusCode === 503 || statusCode === 429) {
      expect(headers['retry-after']).toBeDefined();
      refused++;
      return;
    }
    expect(statusCode).toBe(path.startsWith('/async') ? 202 : 200);
    into.push(performance.now() - since);
    if (statusCode === 202) ids.push(String(headers['x-invocation-id']));
  };
  const repeat = async (to: Pool, path: string, into: number[], pauseMs: number): Promise<void> => {
    while (performance.now() < until) {
      await delay(Math.random() * pauseMs);
      await call(to, path, into);
    }
  };
  const look = async (): Promise<void> => {
    for (; performance.now() < until; await delay(100)) memory = Math.max(memory, 1024 * processStatus(pid, 'VmRSS'));
  };
  await Promise.all([
    look(),
    ...Array.from({ length: callers }, () => repeat(many, '/async-function/ok', accepts, 2000)),
    ...Array.from({ length: 4 }, () => repeat(few, '/function/probe', syncs, 50)),
  ]);
  return { accept: median(accepts), sync: median(syncs), ids, refused, memory };
}

function median(all: number[]): number {
  return all.sort((a, b) => a - b)[Math.floor(all.length / 2)] ?? Number.NaN;
}

await describeOnMachine('the disk is slow', slowDiskNeeds, () => {
  it(
    'accepting takes longer, memory does not grow, and what is too much is refused (P13)',
    { timeout: 600_000 },
    async ({ task }) => {
      const home = mkdtempSync(join(tmpdir(), 'millrace-slow-'));
      const ledger = join(home, 'executions.jsonl');
      const config = join(home, 'millrace.yaml');
      const functions = ['ok', 'probe'].map((name) => ({ name, inline: true, concurrency: 32, attempts: 5 }));
      const limits = `gateway:\n  limits: { inFlight: ${inFlight} }`;
      writeFileSync(config, configuration(sqlite.yaml(home), functions, ledger).replace('gateway:', limits));
      const gateway = await startGateway(config, { LEDGER: ledger });
      const pid = gateway.child.pid ?? 0;
      try {
        const calm = await loaded(gateway.url, pid, times(3000, 20_000));
        const slow = await (async () => {
          using _disk = new SlowDisk(pid, home, 20);
          return await loaded(gateway.url, pid, times(6000, 60_000));
        })();
        const growth = Math.round((slow.memory - calm.memory) / mib);
        const accepted = [...calm.ids, ...slow.ids];
        const { terminals } = await readLedgers(
          gateway,
          accepted.map((id) => ({ callId: id, id, function: 'ok', body: '', order: undefined })),
        );
        const ended = terminals.filter(({ state }) => state === 'succeeded').length;
        const result =
          `20 writes a second: accepted after ${slow.accept.toFixed()} ms instead of ${calm.accept.toFixed()}, ` +
          `sync calls after ${slow.sync.toFixed()} instead of ${calm.sync.toFixed()}, ${slow.refused.toLocaleString('en')} refused, ` +
          `memory ${growth > 0 ? '+' : ''}${growth} MiB, ${accepted.length - ended} of ${accepted.length.toLocaleString('en')} lost`;
        process.stderr.write(`  ${result}\n`);
        // It is what it is said to be: as long as for some writes.
        expect(slow.accept).toBeGreaterThan(Math.max(100, calm.accept));
        expect(slow.refused).toBeGreaterThan(calm.refused);
        expect(growth).toBeLessThan(64);
        expect(slow.sync).toBeLessThan(2 * calm.sync + 5); // Of some ms: what is not the disk is noise.
        expect(ended).toBe(accepted.length);
        saw(task, { result });
        expect(await stopGateway(gateway)).toBe(0);
      } finally {
        gateway.child.kill('SIGKILL');
        await gateway.ended;
        rmSync(home, { recursive: true, force: true });
      }
    },
  );
});
