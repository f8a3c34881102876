import { queueContract } from '../../core/testing/queue-contract.ts';
import { queueModel } from '../../core/testing/queue-model.ts';
import sqlite from '../../plugins/queues/sqlite/index.ts';
import { sqliteBench } from './sqlite-bench.ts';

queueContract({ name: 'queue sqlite', capabilities: sqlite.capabilities, create: sqliteBench });
queueModel({ name: 'queue sqlite', create: sqliteBench });
