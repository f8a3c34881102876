import type { LedgerFaults } from '../../core/ledger/messages.ts';
import { LedgerQueue } from '../../core/ledger/queue.ts';
import type { LedgerSettings } from '../../core/ledger/records.ts';
import { manualClock, type ManualClock } from '../../core/testing/manual-clock.ts';
import { memoryJournals } from '../../core/testing/memory-journal.ts';
import type { QueueBench, QueueSettings } from '../../core/testing/queue-trial.ts';
import { quietHost } from '../support/quiet-host.ts';

export interface LedgerBenchOptions {
  readonly faults?: LedgerFaults;
  readonly clock?: ManualClock;
  readonly journals?: ReturnType<typeof memoryJournals>;
  /** Small, so that snapshots are made in a test. */
  readonly snapshotBytes?: number;
  /** Every entry lands twice. */
  readonly twice?: boolean;
}

export function ledgerSettings(settings: QueueSettings = {}): LedgerSettings {
  return {
    agingStepMs: settings.agingStepMs ?? 30_000,
    maxMessages: settings.maxMessages ?? 100_000,
    maxBytes: settings.maxBytes ?? 2 ** 28,
    maxLaneMessages: settings.maxLaneMessages,
    retentionMs: 14 * 86_400_000,
    tombstonesMs: 86_400_000,
    maxEnded: 100_000,
  };
}

/** A started ledger queue on journals in memory and a clock moved by hand, with bugs in it where asked. */
export async function ledgerBench(
  settings: QueueSettings = {},
  {
    faults = {},
    clock = manualClock(),
    journals = memoryJournals(clock),
    snapshotBytes = 3000,
    twice = false,
  }: LedgerBenchOptions = {},
): Promise<QueueBench & { advance(ms: number): void }> {
  if (twice) journals.commands.beforeAppend = async () => void journals.commands.faults.push('twice');
  const open = async (): Promise<LedgerQueue> => {
    const options = {
      host: quietHost(clock),
      settings: ledgerSettings(settings),
      instance: 'one',
      keeping: { snapshotBytes, trimBytes: 2000, slackBytes: 2000 },
      faults,
    };
    const queue = new LedgerQueue(journals, options);
    await queue.start();
    return queue;
  };
  const opened = [await open()];
  return {
    queue: opened[0] as LedgerQueue,
    advance: (ms) => clock.advance(ms),
    // The old one is let alone until the end, as a gateway is that stopped hearing and saying anything.
    reopen: async () => {
      const queue = await open();
      opened.push(queue);
      return queue;
    },
    dispose: async () => {
      for (const queue of opened) await queue.stop(5000);
    },
  };
}
