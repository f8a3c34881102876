import type { Handler } from '../../../plugins/providers/worker/api.ts';
import { openReadings } from './readings.ts';

// SQLite takes the other columns of a row from where the maximum is.
const latest = openReadings().prepare(
  'SELECT sensor, count(*) AS readings, max(at) AS at, celsius FROM readings GROUP BY sensor ORDER BY sensor',
);

/** The latest reading of each sensor. */
export default (() => latest.all()) satisfies Handler;
