import { randomBytes } from 'node:crypto';
import { expect } from 'vitest';
import { type ConnectorCase, quiet, until } from '../connector-trial.ts';

/** What was sent is what is given: each once, whole. */
export const deliveryCases: readonly ConnectorCase[] = [
  {
    name: 'gives each message once, as the first attempt, as long as all goes well',
    run: async (trial) => {
      const before = trial.traits.handsBack === 'nobody' ? [] : await trial.send(10);
      const desk = await trial.desk(100);
      const sent = [...before, ...(await trial.send(80))];
      const taken = await desk.settleUpTo(sent.length, trial.acknowledging);
      await trial.expectOnce(taken, sent);
      await desk.expectQuiet();
      for (const { delivery } of taken) expect(delivery.request.attempt ?? 1).toBe(1);
      const own = taken.map(({ delivery }) => delivery.message?.dedupId).filter((id) => id !== undefined);
      expect(new Set(own).size, 'two messages have the same dedupId').toBe(own.length);
      await trial.expectNothingLeft();
    },
  },
  {
    name: 'gives messages in the order in which they were sent',
    needs: ['ordered', 'carries'],
    run: async (trial) => {
      const desk = await trial.desk(7);
      const sent = await trial.send(60);
      const taken = await desk.settleUpTo(sent.length, trial.acknowledging, 1);
      expect(await trial.names(taken)).toEqual(sent);
    },
  },
  {
    name: 'gives the bytes as they were sent: none, any, as many as may be',
    needs: ['carries'],
    run: async (trial) => {
      const desk = await trial.desk(20);
      const every = Uint8Array.from({ length: 256 }, (_each, index) => index);
      const sent = [
        every,
        new Uint8Array(0),
        Buffer.from('ünïcode 🔑\0\r\n'),
        Buffer.from('....inside....').subarray(4, 10),
        // All of these before any is read: a client that uses its memory again is found out.
        ...Array.from({ length: 10 }, () => randomBytes(1000)),
        randomBytes(trial.traits.maxBodyBytes),
      ].map((body) => Buffer.from(body));
      for (const body of sent) await trial.sendAs({ body });
      const taken = await desk.next(sent.length);
      const came = await Promise.all(taken.map((one) => one.bytes()));
      const hex = (bytes: Buffer): string => bytes.toString('hex');
      if (trial.traits.ordered) expect(came.map(hex)).toEqual(sent.map(hex));
      else expect(came.map(hex).toSorted()).toEqual(sent.map(hex).toSorted());
      for (const one of taken) await desk.settle(one, trial.acknowledging);
      await trial.untilLeft(0);
    },
  },
  {
    name: "passes the sender's headers on, in lower case",
    needs: ['carries'],
    run: async (trial) => {
      const desk = await trial.desk(1);
      const headers = { 'X-Order-Of': 'Ada', 'content-type': 'text/x-any', 'x-lower': 'Kept AS it is' };
      await trial.sendAs({ body: Buffer.from('x'), headers });
      const taken = await desk.one();
      expect(taken.delivery.request.headers).toMatchObject({
        'x-order-of': 'Ada',
        'content-type': 'text/x-any',
        'x-lower': 'Kept AS it is',
      });
      const names = Object.keys(taken.delivery.request.headers);
      expect(names.filter((name) => name !== name.toLowerCase())).toEqual([]);
      await desk.settle(taken, trial.acknowledging);
    },
  },
  {
    name: 'says where a message came from, whatever its sender says',
    run: async (trial) => {
      const desk = await trial.desk(1);
      const headers = { 'X-Connector': 'other', 'X-Topic': 'other' };
      await trial.sendAs({ body: Buffer.from('x'), ...(trial.traits.carries && { headers }) });
      const taken = await desk.one();
      expect(taken.header('x-connector')).toBe(trial.bench.kind);
      expect(taken.header('x-topic')).toBe(trial.bench.topic);
      expect(taken.delivery.source).toBe('trial');
      await desk.settle(taken, trial.acknowledging);
    },
  },
  {
    name: 'gives what is no event the attributes of one, with an id of its own',
    needs: ['events'],
    run: async (trial) => {
      const desk = await trial.desk(2);
      await trial.send(2);
      const ids: unknown[] = [];
      for (let count = 0; count < 2; count++) {
        const taken = await desk.one();
        ids.push(taken.header('ce-id'));
        expect(taken.header('ce-specversion')).toBe('1.0');
        expect(taken.header('ce-source')).toBe('/connectors/trial');
        expect(taken.header('ce-id')).toMatch(/./);
        expect(taken.header('ce-type')).toMatch(/./);
        expect(taken.header('ce-time')).toMatch(/^\d{4}-\d\d-\d\dT.*Z$/);
        await desk.settle(taken, trial.acknowledging);
      }
      expect(new Set(ids).size).toBe(2);
    },
  },
  {
    name: 'leaves an event as it is, in binary and in structured mode',
    needs: ['events', 'carries'],
    run: async (trial) => {
      const desk = await trial.desk(2);
      const event = { specversion: '1.0', id: 'e-17', source: '/shop', type: 'order.made', tenant: 'blue' };
      await trial.sendAs({ body: Buffer.from('{}'), headers: { 'content-type': 'application/json' }, event });
      const binary = await desk.one();
      expect(binary.delivery.request.headers).toMatchObject({
        'ce-specversion': '1.0',
        'ce-id': 'e-17',
        'ce-source': '/shop',
        'ce-type': 'order.made',
        'ce-tenant': 'blue',
        'content-type': 'application/json',
      });
      const body = Buffer.from(JSON.stringify({ ...event, id: 'e-18', data: { a: 1 } }));
      await trial.sendAs({ body, headers: { 'content-type': 'application/cloudevents+json' } });
      const structured = await desk.one();
      expect(structured.header('content-type')).toBe('application/cloudevents+json');
      expect(structured.header('ce-id')).toBeUndefined();
      expect(await structured.text()).toBe(body.toString());
      for (const one of [binary, structured]) await desk.settle(one, trial.acknowledging);
    },
  },
  {
    name: 'shares the messages among its instances, each to one of them',
    needs: ['shares'],
    run: async (trial) => {
      const desks = [await trial.desk(4, 0), await trial.desk(4, 1)];
      for (const desk of desks) desk.settleAll(trial.acknowledging, 3);
      const names = (): Promise<string[]> => trial.names(desks.flatMap(({ taken }) => taken));
      const early: string[] = [];
      // Until both are at work: a group may take a while to know all its members.
      await until('both are given something', async () => {
        early.push(...(await trial.send(8)));
        await quiet();
        return desks.every(({ taken }) => taken.length > 0);
      });
      await trial.untilLeft(0);
      const late = await trial.send(40);
      const all = new Set([...early, ...late]);
      await until('all are given', async () => new Set(await names()).size === all.size);
      await trial.untilLeft(0);
      await quiet();
      const given = await names();
      expect(new Set(given)).toEqual(all);
      // While the group came to be some may have come twice. From then on each is given once.
      const twice = late.filter((text) => given.filter((name) => name === text).length > 1);
      expect(twice, 'given to both').toEqual([]);
    },
  },
];
