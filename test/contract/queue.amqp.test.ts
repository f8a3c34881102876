import { expect, it } from 'vitest';
import type { LedgerFaults } from '../../core/ledger/messages.ts';
import { queueCases, queueContract, runQueueCase } from '../../core/testing/queue-contract.ts';
import amqp from '../../plugins/queues/amqp/index.ts';
import { describeWithBroker } from '../support/with-broker.ts';
import { amqpBench } from './amqp-bench.ts';

await describeWithBroker('amqp', 'on RabbitMQ', (url) => {
  const create = (settings: Parameters<typeof amqpBench>[1]): ReturnType<typeof amqpBench> => amqpBench(url, settings);
  queueContract({ name: 'queue amqp', capabilities: amqp.capabilities, create });

  /** The names of the guarantee's cases that fail. */
  async function failuresOf(guarantee: string, faults: LedgerFaults): Promise<string[]> {
    const failed: string[] = [];
    for (const queueCase of queueCases) {
      if (!queueCase.name.startsWith(`${guarantee}:`) || queueCase.needs?.includes('advance')) continue;
      const bench = await amqpBench(url, queueCase.settings, faults);
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

  it('fails G3 without the check of epochs, and keeps it with it', async () => {
    expect(await failuresOf('G3', { skipEpochCheck: true })).not.toEqual([]);
    expect(await failuresOf('G3', {})).toEqual([]);
  }, 60_000);
});
