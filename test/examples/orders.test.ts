import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { DatabaseSync } from 'node:sqlite';
import { expect, it } from 'vitest';
import { Example, fileOf, patient, runNode } from '../support/example.ts';
import { describeWithBroker } from '../support/with-broker.ts';

interface Asked {
  readonly key: string;
  readonly status: number;
}

/** The stand-in of the example, on a free port. */
async function startPayments(): Promise<{ url: string } & AsyncDisposable> {
  const child = spawn(process.execPath, [fileOf('orders', 'payments.ts')], {
    env: { PATH: process.env['PATH'], PAYMENTS_PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  const end = async (): Promise<void> => {
    child.kill();
    await once(child, 'exit');
  };
  return { url: line.replace('payments: ', ''), [Symbol.asyncDispose]: end };
}

await describeWithBroker('kafka', 'orders', (brokers) => {
  it('orders: those of a customer stay in order, and one that makes no sense holds nobody up', async () => {
    await using payments = await startPayments();
    const env = { KAFKA_BROKERS: brokers, PAYMENTS_URL: payments.url, FIRST_RETRY: '300ms' };
    expect(await runNode([fileOf('orders', 'place.ts')], env)).toBe('placed 7 orders\n');
    await using example = await Example.start('orders', env);

    const shipped = (): string[] => {
      using database = new DatabaseSync(`${example.data}/shipments.db`, { readOnly: true });
      const rows = database.prepare('SELECT "order" AS id FROM shipments ORDER BY number').all();
      return rows.map(({ id }) => String(id));
    };
    const of = (customer: string, ids: readonly string[]): string[] => ids.filter((id) => id.startsWith(customer));
    await expect.poll(() => shipped().toSorted(), patient).toEqual(['a-1', 'a-2', 'a-4', 'g-1', 'g-3']);
    expect(of('a', shipped())).toEqual(['a-1', 'a-2', 'a-4']);
    expect(of('g', shipped())).toEqual(['g-1', 'g-3']);

    const asked = (await (await fetch(payments.url)).json()) as Asked[];
    const words = asked.map(({ key, status }) => `${key} ${status}`);
    expect(of('a', words)).toEqual(['a-1 503', 'a-1 201', 'a-2 201', 'a-4 201']);
    expect(of('g', words)).toEqual(['g-1 201', 'g-2 402', 'g-3 201']);

    const [letter, ...others] = await example.letters();
    expect(others).toEqual([]);
    expect(letter).toMatchObject({ function: 'charge.openfaas-fn', reason: 'permanent', attempt: 1 });
    expect(letter?.errors[0]?.message).toBe('the total of an order is a whole number of cents above 0, got -5');

    await example.replay(letter?.id, 'samples/mended.json');
    await expect.poll(() => of('a', shipped()), patient).toEqual(['a-1', 'a-2', 'a-4', 'a-3']);
    expect(await example.letters()).toEqual([]);
  }, 120_000);
});
