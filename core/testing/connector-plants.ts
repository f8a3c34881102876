import { map, Observable } from 'rxjs';
import type { Connector, Credit } from '../contracts/connector.ts';
import { Delivery, type Verdict } from '../contracts/delivery.ts';
import type { ConnectorBench, ConnectorTraits } from './connector-bench.ts';
import { verdicts } from './connector-trial.ts';

type Deliveries = (credit: Credit) => Observable<Delivery>;
type Plant = (deliveries: Deliveries, acknowledging: Verdict) => Deliveries;

/** Bugs that a connector may have, made around one that has none. One at least of the cases that begin so finds it, and says so. */
export const connectorPlants = {
  /** It says that all is well before anything has been done. */
  'acknowledges early': {
    fails: ['acknowledges nothing on receipt', 'hands back at a stop'],
    says: /the source keeps|acknowledged before|more are given/,
    plant: (deliveries, acknowledging) => (credit) =>
      deliveries(credit).pipe(
        map((delivery) => {
          void Promise.resolve(delivery.settlement.settle(acknowledging, delivery)).catch(() => undefined);
          return settledBy(delivery, () => undefined);
        }),
      ),
  },
  'ignores credit': {
    fails: ['never has more unsettled than it took credit for'],
    says: /no credit taken for it|had not been taken/,
    plant: (deliveries) => () => deliveries(boundless),
  },
  'gives twice': {
    fails: ['gives each message once'],
    says: /given more than once/,
    plant: (deliveries) => (credit) =>
      new Observable((subscriber) =>
        deliveries(credit).subscribe((delivery) => {
          subscriber.next(delivery);
          if (credit.tryTake()) subscriber.next(settledBy(delivery, () => undefined));
        }),
      ),
  },
  'loses one': {
    fails: ['gives each message once'],
    says: /more are given/,
    plant: (deliveries, acknowledging) => (credit) =>
      new Observable((subscriber) => {
        let count = 0;
        return deliveries(credit).subscribe((delivery) => {
          if (++count !== 5) return subscriber.next(delivery);
          // The case may be over by then, and its source gone.
          void Promise.resolve(delivery.settlement.settle(acknowledging, delivery))
            .catch(() => undefined)
            .then(() => credit.giveBack());
        });
      }),
  },
  'acknowledges nothing': {
    fails: ['acknowledges what was done'],
    says: /the source keeps 0|though it had been acknowledged/,
    plant: (deliveries) => (credit) => deliveries(credit).pipe(map((delivery) => settledBy(delivery, () => undefined))),
  },
  'takes a retry for an end': {
    fails: ['gives again what is to be tried again'],
    says: /more are given/,
    plant: (deliveries, acknowledging) => (credit) =>
      deliveries(credit).pipe(
        map((delivery) =>
          settledBy(delivery, (verdict) =>
            delivery.settlement.settle(verdict.kind === 'retry' ? acknowledging : verdict, delivery),
          ),
        ),
      ),
  },
  'goes on when it is unsubscribed': {
    fails: ['takes nothing more once it is unsubscribed'],
    says: /is out|taken after/,
    plant: (deliveries) => (credit) =>
      new Observable((subscriber) => {
        deliveries(credit).subscribe((delivery) => subscriber.next(delivery));
      }),
  },
  'changes the bytes': {
    fails: ['gives the bytes as they were sent'],
    says: /deeply equal/,
    plant: (deliveries) => (credit) =>
      deliveries(credit).pipe(
        map(({ source, request, settlement }) => {
          const body = request.body instanceof Uint8Array ? Buffer.from(Buffer.from(request.body).toString()) : null;
          return new Delivery(source, { ...request, body }, settlement);
        }),
      ),
  },
} as const satisfies Readonly<
  Record<string, { readonly fails: readonly string[]; readonly says: RegExp; readonly plant: Plant }>
>;

export type ConnectorPlant = keyof typeof connectorPlants;

/** The bench, with connectors that have that bug. */
export function planted(
  bench: ConnectorBench,
  { acknowledges }: ConnectorTraits,
  name: ConnectorPlant,
): ConnectorBench {
  const { plant }: { readonly plant: Plant } = connectorPlants[name];
  const acknowledging = verdicts[acknowledges[0] ?? 'done'];
  return new Proxy(bench, {
    get: (target, key: keyof ConnectorBench) => {
      if (key !== 'open') return typeof target[key] === 'function' ? target[key].bind(target) : target[key];
      return async (gateway: number): Promise<Connector> => {
        const connector = await target.open(gateway);
        const deliveries = plant((credit) => connector.deliveries(credit), acknowledging);
        return { ...delegated(connector), deliveries };
      };
    },
  });
}

/** The connector, with the bug that it acknowledges what it gives before anything has been done. */
export function earlyConnector(connector: Connector, acknowledging: Verdict = verdicts.done): Connector {
  return {
    ...delegated(connector),
    deliveries: connectorPlants['acknowledges early'].plant((credit) => connector.deliveries(credit), acknowledging),
  };
}

function delegated(connector: Connector): Omit<Connector, 'deliveries' | 'trigger'> {
  return {
    start: () => connector.start(),
    health: () => connector.health(),
    stop: (deadlineMs) => connector.stop(deadlineMs),
  };
}

function settledBy(
  { source, request, settlement, message }: Delivery,
  settle: Delivery['settlement']['settle'],
): Delivery {
  return new Delivery(source, request, { kind: settlement.kind, settle }, message);
}

/** Whoever asks has it. */
const boundless: Credit = {
  limit: 1000,
  outstanding: 0,
  tryTake: () => true,
  take: async (signal) => !signal.aborted,
  giveBack: () => undefined,
};
