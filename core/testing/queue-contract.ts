import { describe, it } from 'vitest';
import type { QueueCapabilities } from '../contracts/queue.ts';
import { boundsCases } from './queue-cases/bounds.ts';
import { cancelCases } from './queue-cases/cancel.ts';
import { deadLetterCases } from './queue-cases/dead-letters.ts';
import { dedupCases } from './queue-cases/dedup.ts';
import { deliveryCases } from './queue-cases/delivery.ts';
import { expiryCases } from './queue-cases/expiry.ts';
import { orderCases } from './queue-cases/order.ts';
import { pauseCases } from './queue-cases/pause.ts';
import { priorityCases } from './queue-cases/priority.ts';
import { resultCases } from './queue-cases/results.ts';
import { settlementCases } from './queue-cases/settlement.ts';
import { timeCases } from './queue-cases/time.ts';
import { waitingCases } from './queue-cases/waiting.ts';
import { QueueTrial, type QueueBench, type QueueCase, type QueueSettings } from './queue-trial.ts';

export interface QueueContractOptions {
  readonly name: string;
  readonly capabilities: QueueCapabilities;
  /** Makes a new, empty, started queue. */
  readonly create: (settings: QueueSettings) => Promise<QueueBench>;
}

/** What every queue promises, one case a promise. */
export const queueCases: readonly QueueCase[] = [
  ...deliveryCases,
  ...settlementCases,
  ...timeCases,
  ...priorityCases,
  ...orderCases,
  ...dedupCases,
  ...deadLetterCases,
  ...pauseCases,
  ...resultCases,
  ...cancelCases,
  ...expiryCases,
  ...boundsCases,
  ...waitingCases,
];

/** Registers every case with vitest: call it at the top of a test file. */
export function queueContract({ name, capabilities, create }: QueueContractOptions): void {
  describe(`${name} keeps the contract of a queue`, () => {
    for (const queueCase of queueCases) {
      it(queueCase.name, async ({ skip }) => {
        const bench = await create(queueCase.settings ?? {});
        try {
          const lacking = lackOf(queueCase, bench, capabilities);
          if (lacking !== undefined) skip(lacking);
          await runQueueCase(queueCase, bench);
        } finally {
          await bench.dispose();
        }
      });
    }
  });
}

/** Runs one case, and the check of conservation that ends every one. */
export async function runQueueCase(queueCase: QueueCase, bench: QueueBench): Promise<void> {
  const trial = new QueueTrial(bench);
  await queueCase.run(trial);
  await trial.expectConserved();
}

function lackOf({ needs = [] }: QueueCase, bench: QueueBench, capabilities: QueueCapabilities): string | undefined {
  for (const need of needs) {
    const there =
      need === 'advance' || need === 'jump' || need === 'reopen' || need === 'shared'
        ? bench[need] !== undefined
        : capabilities[need] !== 'none';
    if (!there) return `the plugin or its bench has no ${need}`;
  }
  return undefined;
}
