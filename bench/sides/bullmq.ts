import { setTimeout as wait } from 'node:timers/promises';
import { Queue, Worker } from 'bullmq';
import { createId } from '../../core/delivery/ids.ts';
import { body, concurrency, parallel, type Side } from './side.ts';

/** BullMQ as its documentation has it, on that Redis. It keeps what is done, as we do. */
export async function bullmqSide(url: string): Promise<Side> {
  const { hostname: host, port } = new URL(url);
  const connection = { host, port: Number(port) };
  const name = createId(Date.now());
  const queue = new Queue(name, { connection });
  await queue.waitUntilReady();
  const payload = { body: body.toString() };
  const work = (count: number, began: () => void, concurrent: number): Promise<void> =>
    new Promise((resolve, reject) => {
      let done = 0;
      const worker = new Worker(name, async () => began(), { connection, concurrency: concurrent });
      worker.on('error', reject);
      worker.on('completed', () => {
        done++;
        if (done === count) void worker.close().then(resolve, reject);
      });
    });
  return {
    accept: (count) => parallel(count, () => queue.add('job', payload)),
    drain: (count) => work(count, () => {}, concurrency),
    latencies: async (count) => {
      const found: number[] = [];
      let sentAt = 0;
      const done = work(count, () => void found.push(performance.now() - sentAt), 1);
      for (let round = 0; round < count; round++) {
        while (found.length < round) await wait(1);
        await wait(5);
        sentAt = performance.now();
        await queue.add('job', payload);
      }
      await done;
      return found;
    },
    close: () => queue.close(),
  };
}
