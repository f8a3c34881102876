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
  it('G2 and G6 fail when an entry that was taken twice counts twice, and hold when it does not', async () => {
    for (const guarantee of ['G2', 'G6']) {
      expect(await failuresOf(guarantee, { faults: { skipNumberCheck: true }, twice: true })).not.toEqual([]);
      expect(await failuresOf(guarantee, { twice: true })).toEqual([]);
    }
  });
  it('the model differs without the check of epochs', async () => {
    const create = (settings: Parameters<typeof ledgerBench>[0]): ReturnType<typeof ledgerBench> =>
      ledgerBench(settings, { faults: { skipEpochCheck: true } });
    await expect(checkQueueModel({ name: 'faulty', create })).rejects.toThrow('Property failed');
  });
});
