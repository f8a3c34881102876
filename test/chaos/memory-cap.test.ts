import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { Pool } from 'undici';
import { type GatewayProcess, startGateway } from '../support/gateway-process.ts';
import { isLong, saw, times } from '../support/promise.ts';
import { fill } from './backlog.ts';
import { configuration } from './configuration.ts';
import { MemoryCap, memoryCapNeeds, peakMemory } from './machine/cgroups.ts';
import { describeOnMachine } from './machine/needs.ts';
import { sqlite } from './queues.ts';

const capBytes = 256 * 2 ** 20;
const bodyBytes = 1_000_000;
const slowClients = 1000;

/** Clients that send a part of a body and then nothing more. */
function slow({ url }: GatewayProcess, count: number): Socket[] {
  const { hostname, port } = new URL(url);
  const head = `POST /async-function/ok HTTP/1.1\r\nhost: x\r\ncontent-length: ${bodyBytes}\r\n\r\n`;
  return Array.from({ length: count }, () => {
    const socket = connect(Number(port), hostname, () => socket.write(head + 'x'.repeat(2048)));
    socket.on('error', () => undefined); // Whom the gateway throws out.
    return socket;
  });
}

await describeOnMachine('the memory is capped', memoryCapNeeds, () => {
  // By request only, and no promise yet (P16): about one run in four is still killed by the kernel.
  it.runIf(isLong)(
    'at 256 MiB, with a backlog, large bodies and slow clients: it refuses, and is not killed',
    { timeout: 600_000 },
    async ({ task }) => {
      const backlog = times(20_000, 100_000);
      const home = mkdtempSync(join(tmpdir(), 'millrace-memory-'));
      const ledger = join(home, 'executions.jsonl');
      const config = join(home, 'millrace.yaml');
      const functions = [{ name: 'ok', inline: true, concurrency: 8, attempts: 5 }];
      writeFileSync(config, configuration(sqlite.yaml(home), functions, ledger));
      await fill(join(home, 'queue.db'), backlog);
      using cap = new MemoryCap(capBytes);
      const gateway = await startGateway(config, { LEDGER: ledger }, { through: cap.through });
      const pool = new Pool(gateway.url, { connections: 128 });
      const sockets = slow(gateway, slowClients);
      try {
        const statuses = new Map<number, number>();
        const body = randomBytes(bodyBytes);
        await Promise.all(
          Array.from({ length: times(300, 3000) }, async () => {
            const answer = await pool.request({ method: 'POST', path: '/async-function/ok', body });
            await answer.body.dump();
            statuses.set(answer.statusCode, (statuses.get(answer.statusCode) ?? 0) + 1);
          }),
        );
        const mib = Math.round(peakMemory(gateway.child.pid ?? 0) / 2 ** 20);
        const answers = [...statuses].map(([status, count]) => `${count} × ${status}`).join(', ');
        const result = `256 MiB, ${backlog.toLocaleString('en')} waiting, ${slowClients} slow clients, 1 MB bodies (${answers}): peak ${mib} MiB, 0 killed`;
        process.stderr.write(`  ${result}\n`);
        expect(cap.kills).toBe(0);
        expect(statuses.get(202)).toBeGreaterThan(0);
        expect([...statuses.keys()].filter((status) => ![202, 413, 429, 503].includes(status))).toEqual([]);
        expect((await fetch(`${gateway.url}/healthz`)).status).toBe(200);
        saw(task, { result });
      } finally {
        for (const socket of sockets) socket.destroy();
        gateway.child.kill('SIGKILL');
        await gateway.ended;
        await pool.destroy();
        rmSync(home, { recursive: true, force: true });
      }
    },
  );
});
