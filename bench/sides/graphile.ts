import { Logger, makeWorkerUtils, run } from 'graphile-worker';
import { createId } from '../../core/delivery/ids.ts';
import { body, concurrency, parallel, probed, type Side } from './side.ts';

/** What its documentation advises for throughput: jobs are fetched, and told to be done, many at once. */
const batched = { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 };

/** graphile-worker as it comes, or `batched`, on that PostgreSQL. It keeps nothing of what is done. */
export async function graphileSide(url: string, setting: string | undefined): Promise<Side> {
  const schema = `bench_${createId(Date.now()).toLowerCase().replaceAll(/\W/g, '_')}`;
  const logger = new Logger(() => () => undefined);
  const utils = await makeWorkerUtils({ connectionString: url, schema, logger });
  await utils.migrate();
  const payload = { body: body.toString() };
  const work = async (count: number, began: () => void, concurrentJobs: number): Promise<void> => {
    const { promise: done, resolve } = Promise.withResolvers<void>();
    let left = count;
    const runner = await run({
      connectionString: url,
      schema,
      logger,
      noHandleSignals: true,
      concurrency: concurrentJobs,
      maxPoolSize: concurrentJobs + 2,
      taskList: {
        job: () => {
          began();
          if (--left === 0) resolve();
        },
      },
      preset: setting === 'batched' ? { worker: batched } : {},
    });
    await done;
    await runner.stop();
  };
  return {
    durability: 'disk',
    accept: (count) => parallel(count, () => utils.addJob('job', payload)),
    drain: (count) => work(count, () => {}, concurrency),
    latencies: (count) =>
      probed(
        count,
        (began) => work(count, began, 1),
        () => utils.addJob('job', payload),
      ),
    close: async () => {
      await utils.withPgClient((client) => client.query(`drop schema ${schema} cascade`));
      await utils.release();
    },
  };
}
