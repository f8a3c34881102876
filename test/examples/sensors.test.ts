import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { DatabaseSync } from 'node:sqlite';
import { expect, it } from 'vitest';
import { type OwnBroker, startBroker } from '../support/brokers.ts';
import { Example, fileOf, patient } from '../support/example.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';

const sample = await readFile(fileOf('sensors', 'samples/sensor-7.ndjson'), 'utf8');

/** Each line is a message, as the README sends them; resolves when the broker has confirmed all. */
async function publish({ url }: OwnBroker, sensor: string, lines: string): Promise<void> {
  const args = ['-p', new URL(url).port, '-q', '1', '-t', `plant/${sensor}/climate`, '-l'];
  const child = spawn('mosquitto_pub', args, { stdio: ['pipe', 'ignore', 'inherit'] });
  child.stdin.end(lines);
  expect(await once(child, 'exit')).toEqual([0, null]);
}

async function listening(example: Example): Promise<void> {
  const states = async (): Promise<Record<string, string>> => {
    const rows = await example.json<{ name: string; state: string }[]>('/system/connectors');
    return Object.fromEntries(rows.map(({ name, state }) => [name, state]));
  };
  await expect.poll(states, patient).toMatchObject({ climate: 'running' });
}

interface Row {
  readonly sensor: string;
  readonly readings: number;
  readonly at: string;
}
const latest = (example: Example): Promise<readonly Row[]> => example.json('/function/latest');
const countOf = async (example: Example, sensor: string): Promise<number> =>
  (await latest(example)).find((row) => row.sensor === sensor)?.readings ?? 0;

await describeWithOwnBroker('mqtt', 'sensors', () => {
  it('sensors: bad readings end alone, and what comes again after a crash makes no second row', async () => {
    await using broker = await startBroker('mqtt');
    const env = { MQTT_URL: broker.url, HOSTNAME: 'test', FIRST_RETRY: '20ms' };
    await using example = await Example.start('sensors', env);
    await listening(example);
    await publish(broker, '7', sample);
    await expect.poll(() => countOf(example, '7'), patient).toBe(238);
    expect(await latest(example)).toEqual([expect.objectContaining({ sensor: '7', at: '2026-11-28T13:59:00Z' })]);

    await expect.poll(() => example.letters(), patient).toHaveLength(2);
    const reasons = (await example.letters()).map(({ errors }) => String(errors.at(-1)?.message));
    expect(reasons).toHaveLength(2);
    expect(reasons).toContain('celsius: a number from -60 to 100, got "n/a"');
    expect(reasons).toContain('celsius: a number from -60 to 100, got 850');
    const wild = (await example.letters()).find(({ errors }) => errors.at(-1)?.message.includes('850'));
    expect(wild).toMatchObject({ function: 'store.openfaas-fn', reason: 'max_attempts', attempt: 3 });
    const kept = await example.json<readonly { data: unknown }[]>(`/system/dead-letters/${wild?.id}/body`);
    expect(kept.map(({ data }) => data)).toEqual([{ at: '2026-11-28T12:10:00Z', celsius: 850 }]);

    await example.replay(wild?.id, 'samples/mended.json');
    await expect.poll(() => countOf(example, '7'), patient).toBe(239);

    // Others, in the midst of which the gateway is killed; and the first ones again: the broker keeps what it has not taken.
    const minute = (at: number): string => `${new Date(Date.UTC(2026, 10, 27, 0, at)).toISOString().slice(0, 19)}Z`;
    const lines = Array.from({ length: 1000 }, (_, at) => `{"at":"${minute(at)}","celsius":20}\n`);
    const publishing = publish(broker, '8', lines.join(''));
    const stored = (): number => {
      using database = new DatabaseSync(`${example.data}/readings.db`, { readOnly: true });
      return Number(database.prepare("SELECT count(*) AS count FROM readings WHERE sensor = '8'").get()?.['count']);
    };
    await expect.poll(stored, { ...patient, interval: 1 }).toBeGreaterThan(0);
    await example.kill();
    expect(stored()).toBeLessThan(1000);
    await publishing;
    await publish(broker, '7', sample);
    await example.start();
    await expect.poll(() => countOf(example, '8'), patient).toBe(1000);
    await expect.poll(() => example.letters(), patient).toHaveLength(3);
    expect(await countOf(example, '7')).toBe(239);
  }, 120_000);
});
