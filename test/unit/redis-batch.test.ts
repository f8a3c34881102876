import { describe, expect, it } from 'vitest';
import { Batch } from '../../plugins/queues/redis/batch.ts';

/** A server that answers each round trip when it is told to, with what it was asked. */
function slowServer(): {
  readonly sent: (readonly string[])[];
  readonly send: (requests: readonly string[]) => Promise<readonly string[]>;
  /** Ends the oldest round trip. */
  readonly answer: (error?: Error) => void;
} {
  const sent: (readonly string[])[] = [];
  const ends: ((error?: Error) => void)[] = [];
  return {
    sent,
    send: (requests) => {
      sent.push(requests);
      return new Promise((resolve, reject) => ends.push((error) => (error ? reject(error) : resolve(requests))));
    },
    answer: (error) => ends.shift()?.(error),
  };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('what a queue asks of Redis', () => {
  it('goes together when it is asked in one turn, and not later than others that are under way', async () => {
    const { sent, send } = slowServer();
    const batch = new Batch(send, { count: 10, bytes: 100 });
    void batch.add('a');
    void batch.add('b');
    await turn();
    void batch.add('c');
    await turn();
    expect(sent).toEqual([['a', 'b'], ['c']]);
  });

  it('alone: waits for the answer, and is on its way before that is heard', async () => {
    const { sent, send, answer } = slowServer();
    const batch = new Batch(send, { count: 10, bytes: 100, isAlone: true });
    let sentWhenHeard = 0;
    const first = batch.add('a').then(() => (sentWhenHeard = sent.length));
    await turn();
    const later = [batch.add('b'), batch.add('c')];
    await turn();
    expect(sent).toEqual([['a']]);
    answer();
    await first;
    expect(sentWhenHeard).toBe(2);
    expect(sent).toEqual([['a'], ['b', 'c']]);
    answer();
    expect(await Promise.all(later)).toEqual(['b', 'c']);
  });

  it('alone: goes on after a failure, which only those are told who were part of it', async () => {
    const { sent, send, answer } = slowServer();
    const batch = new Batch(send, { count: 2, bytes: 100, isAlone: true });
    const asked = Promise.allSettled(['a', 'b', 'c'].map((request) => batch.add(request)));
    await turn();
    expect(sent).toEqual([['a', 'b']]);
    answer(new Error('away'));
    await turn();
    expect(sent).toEqual([['a', 'b'], ['c']]);
    answer();
    expect((await asked).map(({ status }) => status)).toEqual(['rejected', 'rejected', 'fulfilled']);
  });

  it('is split where it would be too much at once', async () => {
    const { sent, send } = slowServer();
    const batch = new Batch(send, { count: 2, bytes: 10 });
    for (const [request, bytes] of Object.entries({ a: 1, b: 1, c: 8, d: 3, e: 20 })) void batch.add(request, bytes);
    await turn();
    expect(sent).toEqual([['a', 'b'], ['c'], ['d'], ['e']]);
  });
});
