import type { Handler } from '../../../plugins/providers/worker/api.ts';
import { openReadings } from './readings.ts';

/** One message of a batch, as Millrace gives it: https://github.com/cloudevents/spec, JSON batch format. */
interface Message {
  readonly id: string;
  /** `plant/SENSOR/climate` */
  readonly subject: string;
  readonly data: unknown;
}

interface Reading {
  readonly at: string;
  readonly celsius: number;
}

const database = openReadings();
// The same reading once more changes nothing, and a corrected one takes its place.
const upsert = database.prepare(`
  INSERT INTO readings (sensor, at, celsius) VALUES (?, ?, ?)
  ON CONFLICT (sensor, at) DO UPDATE SET celsius = excluded.celsius`);

/**
 * Writes the readings of a batch in one transaction, and names those that make no sense, with the reason. What the database
 * throws fails the whole batch, which is then tried again.
 */
export default ((event) => {
  const batchItemFailures: { itemIdentifier: string; message: string }[] = [];
  database.exec('BEGIN IMMEDIATE');
  try {
    for (const { id, subject, data } of event.json() as readonly Message[]) {
      const message = faultOf(data);
      const [, sensor = ''] = subject.split('/');
      if (message === undefined) upsert.run(sensor, (data as Reading).at, (data as Reading).celsius);
      else batchItemFailures.push({ itemIdentifier: id, message });
    }
    database.exec('COMMIT');
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK');
    throw error;
  }
  return { batchItemFailures };
}) satisfies Handler;

/** What is wrong with it; undefined: nothing. */
function faultOf(data: unknown): string | undefined {
  const { at, celsius } = (data ?? {}) as Partial<Record<keyof Reading, unknown>>;
  if (typeof at !== 'string' || !/^\d{4}-\d\d-\d\dT[\d:]+Z$/.test(at))
    return `at: a time in UTC, got ${JSON.stringify(at)}`;
  if (typeof celsius !== 'number' || celsius < -60 || celsius > 100)
    return `celsius: a number from -60 to 100, got ${JSON.stringify(celsius)}`;
  return undefined;
}
