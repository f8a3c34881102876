import { Queue, Worker } from 'bullmq';
import { createId } from '../../core/delivery/ids.ts';
import { answer, body, concurrency, parallel, probed, type Side } from './side.ts';

/** BullMQ as its documentation has it, on that Redis. It keeps what is done, as we do. */
export async function bullmqSide(url: string, durability: Side['durability']): Promise<Side> {
  const { hostname: host, port } = new URL(url);
  const connection = { host, port: Number(port) };
  const name = createId(Date.now());
  const queue = new Queue(name, { connection });
  await queue.waitUntilReady();
  const payload = { body: body.toString() };
  const work = (count: number, began: () => void, concurrent: number): Promise<void> =>
    new Promise((resolve, reject) => {
      let done = 0;
      const worker = new Worker(
        name,
        async () => {
          began();
          return answer;
        },
        { connection, concurrency: concurrent },
      );
      worker.on('error', reject);
      worker.on('completed', () => {
        done++;
        if (done === count) void worker.close().then(resolve, reject);
      });
    });
  return {
    durability,
    accept: (count) => parallel(count, () => queue.add('job', payload)),
    drain: (count) => work(count, () => {}, concurrency),
    latencies: (count) =>
      probed(
        count,
        (began) => work(count, began, 1),
        () => queue.add('job', payload),
      ),
    close: () => queue.close(),
  };
}
