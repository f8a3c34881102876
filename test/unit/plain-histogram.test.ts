import { describe, expect, it } from 'vitest';
import { addTime, noTimes, plainHistogram } from '../../core/observe/plain-histogram.ts';
import { Histogram, Registry } from '../../core/observe/prometheus.ts';

const bounds = [0.001, 0.05, 1];
const options = { name: 'took_seconds', help: 'What it took.' };

/** What a scrape gets of times that prom-client counts by itself. */
function byPromClient(seconds: readonly number[]): Promise<string> {
  const registry = new Registry();
  const histogram = new Histogram({ ...options, labelNames: ['code'], buckets: bounds, registers: [registry] });
  for (const each of seconds) histogram.labels('200').observe(each);
  return registry.metrics();
}

function byPlainNumbers(seconds: readonly number[]): Promise<string> {
  const registry = new Registry();
  const times = noTimes(bounds);
  registry.registerMetric(plainHistogram(options.name, options.help, bounds, () => [[{ code: '200' }, times]]));
  for (const each of seconds) addTime(times, bounds, each);
  return registry.metrics();
}

describe('a histogram in plain numbers', () => {
  it('is scraped as one of prom-client: bounds belong to their bucket, and what is longer counts too', async () => {
    const seconds = [0, 0.0005, 0.001, 0.0011, 0.05, 0.5, 1, 1.25, 90];
    const shown = await byPlainNumbers(seconds);
    expect(shown).toBe(await byPromClient(seconds));
    expect(shown).toContain('took_seconds_count{code="200"} 9');
  });

  it('differs where one time lies in another bucket', async () => {
    expect(await byPlainNumbers([0.5, 0.25])).not.toBe(await byPromClient([0.7, 0.05]));
  });
});
