import { expect } from 'vitest';
import { type ConnectorCase, type ConnectorTrial, quiet, type Taken, until, verdicts } from '../connector-trial.ts';

/** What a stop, a start and an end of the source mean. */
export const stoppingCases: readonly ConnectorCase[] = [
  {
    name: 'tells that it is running, and when it has stopped',
    run: async (trial) => {
      const desk = await trial.desk(1);
      expect(desk.connector.health()).toMatchObject({ state: 'running', reconnects: expect.any(Number) });
      await desk.stop();
      expect(desk.connector.health().state).toBe('stopped');
    },
  },
  {
    name: 'hands back at a stop what has not been settled, and what it had not even given',
    needs: ['hands back'],
    run: async (trial) => {
      const count = trial.atOnce(3);
      const desk = await trial.desk(count);
      const sent = await trial.send(count + 4);
      const before = await desk.next(count);
      await desk.stop();
      const heir = await trial.heir(10);
      const taken = await heir.settleUpTo(sent.length, trial.acknowledging);
      await trial.expectAll(taken, sent);
      // By this a queue knows that it has it already.
      const [old, again] = [await dedupIds(trial, before), await dedupIds(trial, taken)];
      for (const [name, id] of old) expect(again.get(name), `dedupId of ${name}`).toBe(id);
      await trial.expectNothingLeft();
    },
  },
  {
    name: 'acknowledges what is settled in the moment of its stop',
    needs: ['hands back'],
    run: async (trial) => {
      const desk = await trial.desk(1);
      await trial.send(1);
      const settling = desk.settle(await desk.one(), trial.acknowledging);
      await desk.stop();
      await settling;
      await trial.untilLeft(0);
      await trial.expectNothingLeft();
    },
  },
  {
    name: 'changes nothing by a word that comes after the stop',
    needs: ['fences', 'hands back'],
    run: async (trial) => {
      const desk = await trial.desk(1);
      const sent = await trial.send(1);
      const old = await desk.one();
      await desk.stop();
      const heir = await trial.heir(1);
      const present = await heir.one();
      await desk.settle(old, trial.acknowledging);
      await desk.say(old, verdicts.retry);
      await desk.expectQuiet();
      await trial.expectLeft(1, 'acknowledged by one who had stopped');
      // Told by the source, or not: it is still to be had.
      await heir.stop();
      const last = await trial.desk(1, trial.traits.handsBack === 'anyone' ? 2 : 0);
      const again = await last.one();
      await trial.expectOnce([again], sent);
      expect(again.delivery).not.toBe(present.delivery);
      await last.settle(again, trial.acknowledging);
      await trial.expectNothingLeft();
    },
  },
  {
    name: 'refuses to start on what it cannot work with, and names it',
    needs: ['refused'],
    run: async ({ bench }) => {
      for (const refused of bench.refused ?? []) {
        const { what, names } = refused;
        const refusal: unknown = await refused.start().then(
          () => `it started on ${what}`,
          (error: unknown) => error,
        );
        expect(refusal, what).toMatchObject({ code: 'config.invalid', message: expect.stringContaining(names) });
      }
    },
  },
  {
    name: 'goes on by itself within 10 s of the return of a source that died, and has lost nothing',
    needs: ['away'],
    run: async (trial) => {
      const { bench, traits } = trial;
      const desk = await trial.desk(4);
      const before = await trial.send(20);
      const held = await desk.next(trial.atOnce(4));
      const [settled, ...unsettled] = held;
      if (settled) await desk.settle(settled, trial.acknowledging);
      const back = await bench.away?.();
      await until(
        'it tells that it reconnects',
        () => desk.connector.health().state === 'reconnecting',
        () => desk.told,
      );
      // Whatever comes of a word while nobody hears it: it does no harm. Some say it again until it is heard.
      const said = unsettled.map((one) => desk.settle(one, trial.acknowledging).catch(() => undefined));
      desk.settleAll(trial.acknowledging);
      await back?.();
      const given = desk.taken.length;
      const after: string[] = [];
      await until(
        'something new is given',
        async () => {
          // It may take a moment until the source takes anything.
          after.push(...(await trial.send(1).catch(() => [])));
          await quiet();
          return desk.taken.length > given && after.length > 0;
        },
        () => desk.told,
        10_000,
      );
      expect(desk.connector.health()).toMatchObject({ state: 'running' });
      expect(desk.connector.health().reconnects).toBeGreaterThan(0);
      const confirmed = traits.handsBack === 'nobody' ? after.slice(-1) : [...before, ...after];
      await until(
        'all that was confirmed is given',
        async () => {
          const names = new Set(await trial.names(desk.taken));
          return confirmed.every((text) => names.has(text));
        },
        () => desk.told,
        30_000,
      );
      await Promise.all(said);
      await trial.untilLeft(0);
      await trial.expectNothingLeft();
    },
  },
  {
    name: 'stops in time while its source is away',
    needs: ['away'],
    run: async (trial) => {
      const desk = await trial.desk(2);
      await trial.send(trial.atOnce(2));
      const [taken] = await desk.next(trial.atOnce(2));
      const back = await trial.bench.away?.();
      await until(
        'it tells that it reconnects',
        () => desk.connector.health().state === 'reconnecting',
        () => desk.told,
      );
      await desk.stop();
      if (taken) await desk.settle(taken, trial.acknowledging).catch(() => undefined);
      expect(desk.connector.health().state).toBe('stopped');
      await back?.();
    },
  },
];

async function dedupIds(trial: ConnectorTrial, taken: readonly Taken[]): Promise<Map<string, string | undefined>> {
  const names = await trial.names(taken);
  return new Map(taken.map(({ delivery }, index) => [names[index] ?? '', delivery.message?.dedupId]));
}
