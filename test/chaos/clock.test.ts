import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { startGateway, stopGateway } from '../support/gateway-process.ts';
import { saw, seed, times } from '../support/promise.ts';
import { Callers } from './callers.ts';
import { broken, check, type Execution } from './checker.ts';
import { configuration, type CrashFunction } from './configuration.ts';
import { readLedgers } from './ledgers.ts';
import { clockNeeds, FakeClock } from './machine/clock.ts';
import { describeOnMachine } from './machine/needs.ts';
import { sqlite } from './queues.ts';
import { seeded } from './random.ts';

const hour = 3600;
const day = 24 * hour;
// Forwards first: a schedule that has been in the future fires nothing until that comes.
const jumps = [hour, day, 0, -hour, 0, -day, 0];
const functions: readonly CrashFunction[] = ['ok', 'keyed', 'fail-once', 'fail-always', 'crash', 'hold', 'tick'].map(
  (name) => ({ name, inline: name !== 'crash', concurrency: 4, attempts: 3 }),
);
const isTick = ({ function: name }: Execution): boolean => name.startsWith('tick');
const everySecond = `
connectors:
  http: { kind: http }
  clock: { kind: cron, schedule: "* * * * * *", function: tick, catchUp: { mode: none } }
`;

await describeOnMachine('the wall clock jumps', clockNeeds, () => {
  it(
    'by hours and days: no lease ends early, no slot fires twice, nothing stands still (P15)',
    { timeout: 600_000 },
    async ({ task }) => {
      const home = mkdtempSync(join(tmpdir(), 'millrace-clock-'));
      const ledger = join(home, 'executions.jsonl');
      const config = join(home, 'millrace.yaml');
      const executions = (): Execution[] =>
        readFileSync(ledger, 'utf8')
          .split('\n')
          .filter(Boolean)
          .map((line) => JSON.parse(line) as Execution);
      writeFileSync(
        config,
        configuration(sqlite.yaml(home), functions, ledger, { store: sqlite.store?.(home) }) + everySecond,
      );
      const clock = new FakeClock(join(home, 'clock'));
      const gateway = await startGateway(config, { LEDGER: ledger, ...clock.env });
      const callers = new Callers(seeded(seed), () => [gateway.url]);
      try {
        const held = await callers.send(gateway.url, 'hold');
        const over = new AbortController();
        const loading = callers.load(Infinity, 100, over.signal);
        for (let round = 0; round < times(1, 10); round++) {
          for (const offset of jumps) {
            clock.jump(offset);
            const [before, fired] = [executions().length, executions().filter(isTick).length];
            // Longer than the timers that look at the clock.
            await delay(1200);
            await callers.working();
            await expect.poll(() => executions().length, { timeout: 20_000 }).toBeGreaterThan(before);
            if (offset > 0) {
              await expect.poll(() => executions().filter(isTick).length, { timeout: 20_000 }).toBeGreaterThan(fired);
            }
          }
        }
        over.abort();
        await loading;
        writeFileSync(`${ledger}.first`, '');
        const told = await readLedgers(gateway, callers.accepted);
        expect(await stopGateway(gateway)).toBe(0);
        const ran = executions();
        const history = {
          ...told,
          accepted: callers.accepted,
          unknown: callers.unknown,
          executions: ran.filter((one) => !isTick(one)),
          attemptsOf: { 'fail-once': 2, 'fail-always': 3, crash: 3 },
          dying: new Set(['fail-always', 'crash']),
          kills: 0,
          atRisk: 0,
          complaints: callers.complaints,
        };
        expect(broken(check(history)), `seed ${seed}`).toEqual([]);
        expect(told.terminals.find(({ id }) => id === held?.id)?.state).toBe('succeeded');
        expect(new Set(callers.accepted.map(({ id }) => id)).size).toBe(callers.accepted.length);
        const slots = ran.filter((one) => isTick(one) && one.event === 'start').map(({ callId }) => callId);
        expect(slots.length).toBeGreaterThan(1);
        expect(slots.filter((slot, index) => slots.indexOf(slot) < index)).toEqual([]);
        const accepted = callers.accepted.length.toLocaleString('en');
        saw(task, {
          seed,
          result: `${jumps.length * times(1, 10)} jumps, ${accepted} accepted, ${slots.length} slots, none twice`,
        });
      } finally {
        gateway.child.kill('SIGKILL');
        await callers.close();
        rmSync(home, { recursive: true, force: true });
      }
    },
  );
});
