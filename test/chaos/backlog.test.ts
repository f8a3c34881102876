import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { startGateway } from '../support/gateway-process.ts';
import { saw, times } from '../support/promise.ts';
import { fill } from './backlog.ts';
import { configuration } from './configuration.ts';
import { sqlite } from './queues.ts';

describe('a gateway that is killed with a backlog', () => {
  it(
    'is ready again, and at work, in a time that does not grow with it (P8)',
    { timeout: 600_000 },
    async ({ task }) => {
      const backlog = times(20_000, 100_000);
      const home = mkdtempSync(join(tmpdir(), 'millrace-backlog-'));
      const ledger = join(home, 'executions.jsonl');
      const config = join(home, 'millrace.yaml');
      const functions = [{ name: 'ok', inline: true, concurrency: 8, attempts: 5 }];
      writeFileSync(ledger, '');
      writeFileSync(config, configuration(sqlite.yaml(home), functions, ledger));
      const lines = (): number => readFileSync(ledger, 'utf8').split('\n').length;
      /** Killed while it works; how long it took until it was ready, and from there until it had begun to work, ms. */
      const life = async (): Promise<readonly [number, number]> => {
        const before = lines();
        const began = performance.now();
        const gateway = await startGateway(config, { LEDGER: ledger });
        const ready = performance.now();
        try {
          await expect.poll(lines, { timeout: 30_000, interval: 5 }).toBeGreaterThan(before);
          return [Math.round(ready - began), Math.round(performance.now() - ready)];
        } finally {
          gateway.child.kill('SIGKILL');
          await gateway.ended;
        }
      };
      try {
        await fill(join(home, 'queue.db'), 100);
        const [small] = await life();
        await fill(join(home, 'queue.db'), backlog);
        await life();
        const [large, first] = await life();
        // What a backlog adds to the start of a process; nothing that is read as a whole would fit in there.
        expect(large - small).toBeLessThan(10_000);
        const result = `${backlog.toLocaleString('en')} waiting: ready ${large} ms after the kill (${small} ms with 100), at work ${first} ms later`;
        process.stderr.write(`  ${result}\n`);
        saw(task, { result });
      } finally {
        rmSync(home, { recursive: true, force: true });
      }
    },
  );
});
