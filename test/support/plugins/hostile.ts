import { Observable } from 'rxjs';
import { z } from 'zod';
import { defineConnector, defineProvider, defineQueue, defineStore } from '../../../core/contracts/definition.ts';
import { Delivery, type Settlement } from '../../../core/contracts/delivery.ts';
import type { Connector } from '../../../core/contracts/connector.ts';

const moments = [
  'create',
  'start',
  'deliveries',
  'error',
  'timer',
  'rejection',
  'twice',
  'settle',
  'never-settles',
  'flood',
  'health',
  'slow-stop',
] as const;

/** A connector that goes wrong at the moment of its configuration. */
const connector = defineConnector({
  kind: 'hostile',
  summary: 'Goes wrong. For tests.',
  config: z.strictObject({ when: z.enum(moments), function: z.string().default('echo') }),
  examples: [{ when: 'start' }],
  create: ({ when, function: name }, host): Connector => {
    if (when === 'create') throw new Error('create went wrong');
    const delivery = (settlement: Settlement): Delivery =>
      new Delivery(
        host.name,
        { function: name, method: 'POST', path: '', query: '', headers: {}, body: null },
        settlement,
      );
    const fine: Settlement = { kind: 'settles', settle: () => undefined };
    return {
      start: async () => {
        if (when === 'start') throw new Error('start went wrong');
        if (when === 'timer') {
          setTimeout(() => {
            throw new Error('a timer went wrong');
          }, 1);
        }
        if (when === 'rejection') void Promise.reject(new Error('a promise went wrong'));
      },
      deliveries: (credit) => {
        if (when === 'deliveries') throw new Error('deliveries went wrong');
        return new Observable((subscriber) => {
          if (when === 'error') subscriber.error(new Error('the stream went wrong'));
          const one = delivery(
            when === 'settle'
              ? { kind: 'settles', settle: () => Promise.reject(new Error('settling went wrong')) }
              : when === 'never-settles'
                ? { kind: 'settles', settle: () => new Promise(() => undefined) }
                : fine,
          );
          if (['twice', 'settle', 'never-settles'].includes(when) && credit.tryTake()) subscriber.next(one);
          if (when === 'twice') subscriber.next(one);
          if (when === 'flood') {
            // Without credit: it is not asked for, and must not be given back either.
            for (let count = 0; count < 20_000; count++) subscriber.next(delivery(fine));
          }
        });
      },
      health: () => {
        if (when === 'health') throw new Error('health went wrong');
        return { state: 'running', reconnects: 0 };
      },
      stop: () => (when === 'slow-stop' ? new Promise(() => undefined) : Promise.resolve()),
    };
  },
});

const wrong = async (): Promise<never> => {
  throw new Error('start went wrong');
};
const config = z.strictObject({});
const common = { kind: 'hostile', summary: 'Goes wrong. For tests.', config, examples: [{}] };
const broken = new Proxy({}, { get: (_target, name) => (name === 'stop' ? async () => undefined : wrong) });

export default [
  connector,
  defineStore({ ...common, create: () => broken as never }),
  defineProvider({ ...common, functionConfig: z.strictObject({}), create: () => broken as never }),
  defineQueue({
    ...common,
    capabilities: {
      fencedSettle: 'none',
      delay: 'none',
      priority: 'none',
      order: 'none',
      dedup: 'none',
      deadLetters: 'none',
      results: 'none',
      pause: 'none',
      cancel: 'none',
      durable: 'none',
    },
    create: () => broken as never,
  }),
];
