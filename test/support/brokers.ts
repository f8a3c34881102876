import { amqp } from './brokers/amqp.ts';
import { kafka } from './brokers/kafka.ts';
import { mqtt } from './brokers/mqtt.ts';
import { nats } from './brokers/nats.ts';
import { type BrokerOptions, OwnBroker } from './brokers/own-broker.ts';
import type { BrokerKind, Recipe } from './brokers/plan.ts';
import { freePorts } from './brokers/ports.ts';
import { redis } from './brokers/redis.ts';

export const recipes: Readonly<Record<BrokerKind, Recipe>> = { nats, redis, amqp, kafka, mqtt };

/**
 * Starts a broker that belongs to the caller alone, and resolves once it serves. It ends with `dispose` (or `await
 * using`), and with this process however that ends.
 *
 * @throws BrokerMissing when its programs are not here and cannot be had.
 */
export function startBroker(kind: BrokerKind, options: BrokerOptions = {}): Promise<OwnBroker> {
  return OwnBroker.start(kind, recipes[kind], options);
}

/** Three NATS servers of one cluster, as above. It answers before it has agreed on who leads it. */
export async function startNatsCluster(): Promise<OwnBroker[]> {
  const ports = await freePorts(3);
  const routes = ports.map((port) => `nats://127.0.0.1:${port}`).join(', ');
  return Promise.all(
    ports.map((port) =>
      startBroker('nats', {
        settings: [`cluster { name: "three", listen: "127.0.0.1:${port}", routes: [${routes}] }`],
      }),
    ),
  );
}

export function isBrokerKind(word: string): word is BrokerKind {
  return Object.hasOwn(recipes, word);
}

export { BrokerMissing } from './brokers/programs.ts';
export { type BrokerKind, brokerKinds } from './brokers/plan.ts';
export type { BrokerOptions, OwnBroker } from './brokers/own-broker.ts';
