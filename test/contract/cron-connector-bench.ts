import { cronConfig } from '../../connectors/cron/config.ts';
import { CronConnector, type Sleep } from '../../connectors/cron/connector.ts';
import { CronRecords } from '../../connectors/cron/record.ts';
import { sleepUnless, systemClock } from '../../core/contracts/clock.ts';
import { brokerTraits, type ConnectorBench, type ConnectorTraits } from '../../core/testing/connector-bench.ts';
import { connectorHost } from '../../core/testing/connector-host.ts';
import { MemoryStore } from '../../plugins/stores/memory/index.ts';

export const cronTraits: ConnectorTraits = {
  ...brokerTraits,
  carries: false,
  // A slot's dedup key makes it one fire, whoever says what of it.
  fences: false,
  shares: false,
  atOnce: 1,
  acknowledges: ['accepted'],
};

/** A wall clock of its own, which moves on by a second for each message that is sent. Pauses take real time. */
export async function cronConnectorBench(): Promise<ConnectorBench> {
  let now = Date.UTC(2026, 0, 1);
  const store = new MemoryStore(systemClock);
  await store.start();
  const clock = { now: () => now, monotonic: () => systemClock.monotonic() };
  const waiters = new Set<() => void>();
  const sleep: Sleep = async (delayMs, signal) => {
    await sleepUnless(delayMs, signal, (wake) => {
      waiters.add(wake);
      return () => waiters.delete(wake);
    });
    return !signal.aborted;
  };
  const schedule = '* * * * * *';
  const config = {
    ...cronConfig.parse({ schedule, function: 'work', overlap: 'allow', catchUp: { mode: 'all' } }),
    schedule,
    function: 'work',
  };
  const records = new CronRecords(store, 'trial', `${config.schedule} ${config.timeZone}`);
  await records.advance(now, undefined);
  return {
    kind: 'cron',
    topic: 'trial',
    open: async () => {
      const connector = new CronConnector(config, connectorHost('cron', { clock, store }), { sleep });
      await connector.start();
      return connector;
    },
    send: async ({ length }) => {
      now += 1000 * length;
      for (const wake of waiters) wake();
    },
    left: async () => (now - ((await records.read())?.lastSlot ?? 0)) / 1000,
    dispose: () => store.stop(0),
  };
}
