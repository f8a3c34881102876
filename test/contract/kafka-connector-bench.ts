import { Kafka as Client, logLevel, Partitioners } from 'kafkajs';
import { kafkaConnectorConfig } from '../../connectors/kafka/config.ts';
import { KafkaConnector } from '../../connectors/kafka/connector.ts';
import type { Connector } from '../../core/contracts/connector.ts';
import {
  brokerTraits,
  type ConnectorBench,
  type ConnectorTraits,
  type Outgoing,
} from '../../core/testing/connector-bench.ts';
import { connectorHost } from '../../core/testing/connector-host.ts';
import { startBroker } from '../support/brokers.ts';
import { dial, newTopics } from './kafka-bench.ts';

const perPartition = 32;
/** One that was killed does not get back in before its session is over. */
const settings = ['broker.session.timeout.ms=3000', 'broker.heartbeat.interval.ms=500'];

/** A partition is one gateway's, and in order. The broker's limit holds for a batch, which has a head of its own. */
export const partitionTraits: ConnectorTraits = {
  ...brokerTraits,
  shares: false,
  atOnce: perPartition,
  maxBodyBytes: 2 ** 20 - 1024,
};

/** Several are shared out, and among them there is no order. */
export const topicTraits: ConnectorTraits = { ...partitionTraits, shares: true, ordered: false };

/** A topic of its own, of so many partitions, on that cluster, or on one of its own without. */
export async function kafkaConnectorBench(url: string | undefined, partitions: number): Promise<ConnectorBench> {
  const topic = newTopics();
  const own = url === undefined ? await startBroker('kafka', { settings }) : undefined;
  const brokers = own?.url ?? url ?? '';
  const client = new Client({ brokers: brokers.split(','), logLevel: logLevel.NOTHING, retry: { maxRetryTime: 1000 } });
  const admin = client.admin();
  // Idempotent, or it says again what a topic that was just made has taken already.
  const sender = client.producer({
    createPartitioner: Partitioners.DefaultPartitioner,
    idempotent: true,
    maxInFlightRequests: 1,
  });
  await Promise.all([admin.connect(), sender.connect()]);
  // Not by kafkajs, which takes a broker that has not heard of it yet for one that never will.
  const maker = await dial(brokers);
  await maker.driver.createTopic({ topic, partitions, replicas: 1, settings: {} });
  const dialled = [maker];
  let sent = 0;
  const open = async (gateway: number, subscribe: Record<string, unknown> = {}): Promise<Connector> => {
    const kafka = await dial(brokers, { clientId: nameOf(gateway) });
    dialled.push(kafka);
    const config = kafkaConnectorConfig.parse({
      subscribe: { topics: [topic], group: topic, ...subscribe },
      concurrency: { perPartition },
      // The least that a broker takes unless it is told otherwise: the gateway is heard of each third of it.
      sessionTimeout: '6s',
      drainTimeout: '1s',
    });
    const connector = new KafkaConnector(config, connectorHost('kafka', { connection: kafka }), kafka);
    await connector.start();
    return connector;
  };
  return {
    kind: 'kafka',
    topic,
    open: (gateway) => open(gateway),
    send: async (messages) => {
      const placed = messages.map((message) => ({ ...recordOf(message), partition: sent++ % partitions }));
      await sender.send({ topic, acks: -1, messages: placed });
    },
    left: async () => {
      const [ends, [found]] = await Promise.all([
        admin.fetchTopicOffsets(topic),
        admin.fetchOffsets({ groupId: topic, topics: [topic] }),
      ]);
      const committed = new Map(found?.partitions.map(({ partition, offset }) => [partition, Number(offset)]));
      return ends.reduce(
        (sum, { partition, high }) => sum + Number(high) - Math.max(0, committed.get(partition) ?? 0),
        0,
      );
    },
    // As an administrator takes a member off the group. It learns of it when it says next that it lives.
    lose: async (gateway) => {
      const { groups } = await admin.describeGroups([topic]);
      const members = groups.flatMap(({ members }) => members).filter(({ clientId }) => clientId === nameOf(gateway));
      const group = maker.driver.group(topic);
      for (const { memberId } of members) await group.leave(memberId);
      group.close();
    },
    ...(own && {
      away: async () => {
        await own.kill();
        return () => own.restart();
      },
    }),
    refused: [
      {
        what: 'a topic that is not there',
        start: () => open(0, { topics: ['none'] }),
        names: 'there is no topic none',
      },
    ],
    dispose: async () => {
      if (!own) await admin.deleteTopics({ topics: [topic] });
      await Promise.allSettled([sender.disconnect(), admin.disconnect()]);
      for (const kafka of dialled) await kafka.stop();
      await own?.dispose();
    },
  };
}

function nameOf(gateway: number): string {
  return `gateway-${gateway}`;
}

/** With the attributes of an event as the Kafka binding has them. */
function recordOf({ body, headers = {}, event = {} }: Outgoing): { value: Buffer; headers: Record<string, string> } {
  const attributes = Object.entries(event).map(([name, value]) => [`ce_${name}`, value]);
  return { value: Buffer.from(body), headers: { ...headers, ...Object.fromEntries(attributes) } };
}
