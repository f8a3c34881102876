import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { queueCases, queueContract, runQueueCase } from '../../core/testing/queue-contract.ts';
import { queueModel } from '../../core/testing/queue-model.ts';
import type { RedisConnection } from '../../plugins/connections/redis/connection.ts';
import redis from '../../plugins/queues/redis/index.ts';
import { describeWithBroker } from '../support/with-broker.ts';
import { redisBench, redisConnection } from './redis-bench.ts';

await describeWithBroker('redis', 'queue redis', (url) => {
  let connection: RedisConnection;
  beforeAll(async () => {
    connection = redisConnection(url);
    await connection.start();
  });
  afterAll(() => connection.stop());

  queueContract({
    name: 'queue redis, on the time of the server,',
    capabilities: redis.capabilities,
    create: (settings) => redisBench(connection, settings, { manual: false }),
  });
  queueContract({
    name: 'queue redis, on a clock moved by hand,',
    capabilities: redis.capabilities,
    create: (settings) => redisBench(connection, settings, { manual: true }),
  });
  queueModel({
    name: 'queue redis',
    runs: 100,
    create: (settings) => redisBench(connection, settings, { manual: true }),
  });

  describe('the contract finds what is planted into queue redis', () => {
    it('G3 fails when the scripts do not look at the epoch', async () => {
      const faults = { skipEpochCheck: true };
      const failed: string[] = [];
      for (const queueCase of queueCases.filter(({ name }) => name.startsWith('G3:'))) {
        const bench = await redisBench(connection, queueCase.settings ?? {}, { manual: true, faults });
        await runQueueCase(queueCase, bench).catch(() => failed.push(queueCase.name));
        await bench.dispose();
      }
      expect(failed).toContain('G3: a receipt whose message another one holds now changes nothing');
    });
  });
});
