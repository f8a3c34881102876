import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import type { FunctionPolicy, ScalePolicy } from '../../core/contracts/policy.ts';
import type { Provider } from '../../core/contracts/provider.ts';
import { Catalog } from '../../core/functions/catalog.ts';
import { FunctionLogs } from '../../core/functions/logs.ts';
import { Scaler } from '../../core/functions/scaler.ts';
import { manualClock } from '../../core/testing/manual-clock.ts';

const name = 'a.openfaas-fn';
const scale: ScalePolicy = {
  min: 1,
  max: 10,
  zero: false,
  zeroAfterMs: 60_000,
  type: 'capacity',
  target: 10,
  targetProportion: 1,
  downWindowMs: 30_000,
  factor: 20,
};

/** A function of a provider that does at once what it is asked, and a scaler that looks when it is told to. */
function world(changed: Partial<ScalePolicy> = {}, failing = 0) {
  const clock = manualClock();
  const catalog = new Catalog('openfaas-fn', clock);
  const asked: number[] = [];
  let failures = failing;
  let started = 0;
  let queued = 0;
  let scaledBy: string | undefined;
  const report = (replicas: number): void =>
    catalog.report({
      name,
      state: replicas === 0 ? 'cold' : 'ready',
      replicas,
      availableReplicas: replicas,
      capacity: 100,
      scaledBy,
    });
  const provider: Provider = {
    start: async () => undefined,
    deploy: async () => undefined,
    remove: async () => undefined,
    invoke: () => Promise.reject(new Error('nobody calls')),
    scale: async (_name, replicas) => {
      asked.push(replicas);
      if (failures-- > 0) throw new Error('not now');
      report(replicas);
    },
    stop: async () => undefined,
  };
  const policy = { queue: 'default', concurrency: 1000, scale: { ...scale, ...changed } } as FunctionPolicy;
  const spec = { name, provider: 'p', config: {}, env: {}, labels: {}, annotations: {} };
  catalog.add(spec, policy, provider);
  report(1);
  const lanes = async () => [{ lane: name, ready: queued, blocked: 0, leased: 0 }];
  const queues = new Map([['default', { lanes }]]) as never;
  const scaler = new Scaler({ catalog, clock, logger: pino({ level: 'silent' }), queues, startedCount: () => started });
  const entry = () => catalog.get(name) ?? expect.fail('it is not there');
  return {
    asked,
    entry,
    scaler,
    report,
    /** Lets time pass, with a look each second; `perSecond` calls begin in each. */
    pass: async (seconds: number, perSecond = 0) => {
      for (let second = 0; second < seconds; second++) {
        clock.advance(1000);
        started += perSecond;
        await scaler.look();
      }
    },
    run: (calls: number) => {
      const { slots } = entry();
      for (let call = 0; call < calls; call++) expect(slots.tryAcquire()).toBe(true);
      return () => {
        for (let call = 0; call < calls; call++) slots.release();
      };
    },
    queue: (messages: number) => (queued = messages),
    /** Somebody else sees to its replicas from now on, or nobody else. */
    own: (owner: string | undefined) => {
      scaledBy = owner;
      report(entry().status.replicas);
    },
    replicas: () => entry().status.replicas,
  };
}

describe('scaling', () => {
  it('goes up at once with what is in flight, no further than the most', async () => {
    const { pass, run, replicas } = world();
    run(35);
    await pass(1);
    expect(replicas()).toBe(4);
    run(65);
    await pass(1);
    expect(replicas()).toBe(10);
  });
  it('goes down to the most that was wanted within the window', async () => {
    const { pass, run, replicas, asked } = world();
    const end = run(35);
    await pass(1);
    end();
    const few = run(15);
    await pass(25);
    expect(replicas()).toBe(4);
    few();
    await pass(10);
    expect(replicas()).toBe(2);
    await pass(40);
    expect(replicas()).toBe(1);
    expect(asked).toEqual([4, 2, 1]);
  });
  it('goes by calls a second', async () => {
    const { pass, replicas } = world({ type: 'rps', target: 50, targetProportion: 0.5 });
    await pass(10, 100);
    expect(replicas()).toBe(4);
  });
  it('goes by what is queued', async () => {
    const { pass, queue, replicas } = world({ type: 'queue', target: 100 });
    queue(250);
    await pass(1);
    expect(replicas()).toBe(3);
  });
  it('goes to zero when it is idle, and never while anything runs, waits or is queued', async () => {
    const { pass, queue, run, entry, asked } = world({ zero: true });
    queue(1);
    await pass(120);
    expect(asked).toEqual([]);
    queue(0);
    const end = run(1);
    await pass(120);
    expect(asked).toEqual([]);
    end();
    entry().slots.hold();
    await pass(120);
    entry().slots.unhold();
    await pass(30);
    await pass(1, 1); // One call that was over before anybody looked.
    await pass(59);
    expect(asked).toEqual([]);
    await pass(1);
    expect(asked).toEqual([0]);
    await pass(600);
    expect(asked).toEqual([0]); // What is at zero is woken by a call only.
  });
  it('wakes a cold function once for all who wait, and asks again while it cannot be', async () => {
    const { scaler, entry, report, asked, replicas } = world({ min: 2 }, 2);
    report(0);
    await Promise.all(Array.from({ length: 1000 }, () => scaler.wake(entry())));
    expect(asked).toEqual([2, 2, 2]);
    expect(replicas()).toBe(2);
  });
  it('leaves what somebody else scales alone, but wakes it from zero', async () => {
    const { scaler, entry, own, report, run, pass, asked } = world({ zero: true, zeroAfterMs: 30_000 });
    own('HorizontalPodAutoscaler resize');
    const end = run(65);
    await pass(10);
    end();
    await pass(120);
    await scaler.alert(name, true);
    await expect(scaler.scale(name, 3)).rejects.toMatchObject({
      code: 'request.conflict',
      message: expect.stringContaining('HorizontalPodAutoscaler resize') as string,
    });
    expect(asked).toEqual([]);
    report(0);
    await scaler.wake(entry());
    report(0);
    await scaler.scale(name, 3);
    expect(asked).toEqual([1, 3]);
  });
  it('looks for a whole window before it scales down what nobody else scales any more', async () => {
    const { own, report, pass, asked } = world();
    own('ScaledObject resize');
    report(5);
    await pass(120);
    own(undefined);
    await pass(25);
    expect(asked).toEqual([]);
    await pass(10);
    expect(asked).toEqual([1]);
  });
  it('takes alerts as OpenFaaS does', async () => {
    const { scaler, asked, report } = world({ max: 10, factor: 25 });
    await scaler.alert(name, true);
    await scaler.alert(name, true);
    expect(asked).toEqual([4, 7]);
    await scaler.alert(name, false);
    expect(asked).toEqual([4, 7, 1]);
    report(0);
    await scaler.alert(name, true);
    expect(asked).toHaveLength(3);
  });
});

describe('the lines of functions', () => {
  const line = (text: string, at = 0, instance = '1') => ({ function: name, instance, at, text });

  it('are given by time, instance, call and number', () => {
    const logs = new FunctionLogs();
    logs.append(line('one', 1));
    logs.append({ ...line('two', 2), callId: 'c' });
    logs.append(line('three', 3, '2'));
    const texts = (...asked: Parameters<FunctionLogs['lines']>) => logs.lines(...asked).map(({ text }) => text);
    expect(texts(name)).toEqual(['one', 'two', 'three']);
    expect(texts(name, {}, 2)).toEqual(['two', 'three']);
    expect(texts(name, { since: 2, instance: '1' })).toEqual(['two']);
    expect(texts(name, { callId: 'c' })).toEqual(['two']);
    expect(texts('b.openfaas-fn')).toEqual([]);
  });
  it('are followed, until one has enough', () => {
    const logs = new FunctionLogs();
    const seen: string[] = [];
    const end = logs.follow(name, { instance: '1' }, ({ text }) => seen.push(text));
    logs.append(line('one'));
    logs.append(line('two', 0, '2'));
    end();
    logs.append(line('three'));
    expect(seen).toEqual(['one']);
  });
  it('are bounded by function and in all, and a long one is cut', () => {
    const logs = new FunctionLogs();
    for (let index = 0; index < 10_000; index++) logs.append(line(String(index)));
    const kept = logs.lines(name);
    expect(kept.length).toBeLessThanOrEqual(2500);
    expect(kept.at(-1)?.text).toBe('9999');
    logs.append(line('x'.repeat(100_000)));
    expect(logs.lines(name).at(-1)?.text).toHaveLength(16 * 1024 + 1);
    for (let other = 0; other < 200; other++) {
      for (let index = 0; index < 40; index++)
        logs.append({ ...line('y'.repeat(16_000)), function: `f${other}.openfaas-fn` });
    }
    expect(logs.lines(name)).toEqual([]); // The longest silent one was forgotten.
    expect(logs.lines('f199.openfaas-fn').length).toBeGreaterThan(20);
  });
});
