import { queueContract } from '../../core/testing/queue-contract.ts';
import { queueModel } from '../../core/testing/queue-model.ts';
import memory from '../../plugins/queues/memory/index.ts';
import { ledgerBench } from './ledger-bench.ts';

const capabilities = { ...memory.capabilities, durable: 'emulated' } as const;

queueContract({ name: 'queue on a ledger', capabilities, create: ledgerBench });
queueModel({ name: 'queue on a ledger', create: ledgerBench });
