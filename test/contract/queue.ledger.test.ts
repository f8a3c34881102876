import { describe, expect, it } from 'vitest';
import { queueCases, queueContract, runQueueCase } from '../../core/testing/queue-contract.ts';
import { checkQueueModel, queueModel } from '../../core/testing/queue-model.ts';
import memory from '../../plugins/queues/memory/index.ts';
import { ledgerBench, type LedgerBenchOptions } from './ledger-bench.ts';

const capabilities = { ...memory.capabilities, durable: 'emulated' } as const;

queueContract({ name: 'queue on a ledger', capabilities, create: ledgerBench });
queueModel({ name: 'queue on a ledger', create: ledgerBench });

/** The names of the guarantee's cases that fail. */
async function failuresOf(guarantee: string, options: LedgerBenchOptions): Promise<string[]> {
  const failed: string[] = [];
  for (const queueCase of queueCases) {
    if (!queueCase.name.startsWith(`${guarantee}:`)) continue;
    const bench = await ledgerBench(queueCase.settings, options);
    try {
      await runQueueCase(queueCase, bench);
    } catch {
      failed.push(queueCase.name);
    } finally {
      await bench.dispose();
    }
  }
  return failed;
}

describe('the contract of a queue finds what is planted in the ledger', () => {
  it('G3 fails without the check of epochs, and holds with it', async () => {
    expect(await failuresOf('G3', { faults: { skipEpochCheck: true } })).not.toEqual([]);
    expect(await failuresOf('G3', {})).toEqual([]);
  });
  const modelOf = (options: LedgerBenchOptions): Promise<void> =>
    checkQueueModel({ name: 'ledger', runs: 60, create: (settings) => ledgerBench(settings, options) });

  it('the model differs without the check of epochs', async () => {
    await expect(modelOf({ faults: { skipEpochCheck: true } })).rejects.toThrow('Property failed');
  });
  it('the model differs when an entry that was taken twice counts twice, and agrees when it does not', async () => {
    await expect(modelOf({ faults: { skipNumberCheck: true }, twice: true })).rejects.toThrow('Property failed');
    await modelOf({ twice: true });
  });
});
