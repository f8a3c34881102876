import { AsyncLocalStorage } from 'node:async_hooks';
import { EventEmitter } from 'node:events';
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
  'stop',
  'event',
  'after-stop',
  'blocks',
  'huge',
  'rubbish',
  'mutates',
  'nobody',
] as const;

/** The context of nobody: what throws there cannot be blamed on the plugin. */
const outside = AsyncLocalStorage.snapshot();

/** A connector that goes wrong at the moment of its configuration. */
const connector = defineConnector({
  kind: 'hostile',
  summary: 'Goes wrong. For tests.',
  config: z.strictObject({ when: z.enum(moments), function: z.string().default('echo') }),
  examples: [{ when: 'start' }],
  create: ({ when, function: name }, host): Connector => {
    if (when === 'create') throw new Error('create went wrong');
    const delivery = (settlement: Settlement, body: Uint8Array | null = null): Delivery =>
      new Delivery(host.name, { function: name, method: 'POST', path: '', query: '', headers: {}, body }, settlement);
    let emit = (): void => undefined;
    const fine: Settlement = { kind: 'settles', settle: () => undefined };
    return {
      start: async () => {
        if (when === 'start') throw new Error('start went wrong');
        if (when === 'timer') {
          setTimeout(() => {
            throw new Error('a timer went wrong');
          }, 1);
        }
        if (when === 'nobody') {
          outside(() =>
            setTimeout(() => {
              throw new Error('nobody went wrong');
            }, 1),
          );
        }
        if (when === 'event') {
          const events = new EventEmitter();
          events.on('message', () => {
            throw new Error('an event went wrong');
          });
          setImmediate(() => events.emit('message'));
        }
        if (when === 'blocks') setTimeout(block, 1, 2000);
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
          if (when === 'after-stop') emit = () => credit.tryTake() && subscriber.next(delivery(fine));
          if (when === 'huge' && credit.tryTake()) subscriber.next(delivery(fine, new Uint8Array(64 * 2 ** 20)));
          if (when === 'rubbish') {
            const all = [
              undefined,
              null,
              7,
              {},
              { request: {} },
              { request: null, settlement: null },
              delivery({} as never),
            ];
            for (const rubbish of all) if (credit.tryTake()) subscriber.next(rubbish as never);
          }
          if (when === 'mutates' && credit.tryTake()) {
            const given = delivery(fine);
            subscriber.next(given);
            Object.assign(given, { request: undefined, settlement: undefined, invocation: undefined });
            for (const spec of host.functions.list()) Object.assign(spec, { name: 'stolen', config: undefined });
          }
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
      stop: async () => {
        if (when === 'stop') throw new Error('stop went wrong');
        emit();
        setTimeout(emit, 1);
        if (when === 'slow-stop') await new Promise(() => undefined);
      },
    };
  },
});

function block(ms: number): void {
  for (const until = performance.now() + ms; performance.now() < until;);
}

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
