import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { connectAsync, type MqttClient, type Packet } from 'mqtt';
import { expect } from 'vitest';
import { mqttConnectorConfig } from '../../connectors/mqtt/config.ts';
import { MqttConnector } from '../../connectors/mqtt/connector.ts';
import { systemClock } from '../../core/contracts/clock.ts';
import { CreditPool } from '../../core/delivery/credit.ts';
import {
  brokerTraits,
  type ConnectorBench,
  type ConnectorTraits,
  type Outgoing,
} from '../../core/testing/connector-bench.ts';
import { connectorHost } from '../../core/testing/connector-host.ts';
import { Mqtt } from '../../plugins/connections/mqtt/connection.ts';
import { mqttConnectionConfig } from '../../plugins/connections/mqtt/index.ts';
import { startBroker } from '../support/brokers.ts';
import { isSaved } from '../support/mqtt-world.ts';
import { quietHost } from '../support/quiet-host.ts';

const receiveMaximum = 200;

/**
 * A message belongs to a session, and that to the name of one client: whoever has that name is given again what was not
 * acknowledged, and nobody else is.
 */
export const mqttTraits: ConnectorTraits = { ...brokerTraits, handsBack: 'itself', atOnce: receiveMaximum };

export interface MqttBenchOptions {
  readonly qos: 1 | 2;
  /** Whether the gateways share what is sent, or each has all of it. */
  readonly isShared: boolean;
}

const topic = 'trial/some';
/** What the log of the broker says of one message: somebody is to have it, and it is done with. */
const came = {
  1: /: Sending PUBACK to sender \(m\d+, rc0\)/g,
  2: /: Sending PUBREC to sender \(m\d+, rc0\)/g,
} as const;
const done = { 1: /: Received PUBACK from gateway-/g, 2: /: Received PUBREC from gateway-/g } as const;
/** The broker has taken it, and keeps it for nobody. */
const noSubscribers = 16;

/**
 * A broker of its own, for what it keeps is told by its log alone. There is no `lose`: a message that the broker gives
 * again to the session that it was given to is known there, and not run twice.
 */
export async function mqttConnectorBench({ qos, isShared }: MqttBenchOptions): Promise<ConnectorBench> {
  const broker = await startBroker('mqtt', { settings: ['log_type all'] });
  const sender = await connectAsync(broker.url, { protocolVersion: 5, clientId: 'sender', reconnectPeriod: 50 });
  sender.on('error', () => undefined); // The broker may die.
  /** By the names of their clients: two that are there at once would take each other's place. */
  const gateways = new Map<string, Promise<Mqtt>>();
  const dial = async (clientId: string, settings: Record<string, unknown>): Promise<Mqtt> => {
    const session = { receiveMaximum };
    const config = mqttConnectionConfig.parse({ url: broker.url, clientId, session, ...settings });
    const mqtt = new Mqtt(config, quietHost(systemClock));
    await mqtt.start();
    return mqtt;
  };
  const open = async (
    clientId: string,
    subscription: Record<string, unknown> = {},
    connection: Record<string, unknown> = {},
  ): Promise<MqttConnector> => {
    const dialled = gateways.get(clientId) ?? dial(clientId, connection);
    gateways.set(clientId, dialled);
    const mqtt = await dialled;
    const share = isShared ? { share: 'gateways' } : {};
    const config = mqttConnectorConfig.parse({ subscribe: [{ topic, qos, ...share, ...subscription }] });
    const connector = new MqttConnector(config, connectorHost('mqtt', { connection: mqtt }), mqtt);
    await connector.start();
    return connector;
  };
  // The broker keeps something for those alone who were there once.
  const first = await open('gateway-0');
  const taking = first.deliveries(new CreditPool(1)).subscribe();
  await expect.poll(() => first.health().state, { timeout: 15_000 }).toBe('running');
  taking.unsubscribe();
  await first.stop();
  return {
    kind: 'mqtt',
    topic,
    open: (gateway) => open(`gateway-${gateway}`),
    send: async (messages) => {
      for (const message of messages) await publish(sender, message, qos);
    },
    left: async () => {
      const log = readFileSync(join(broker.folder, 'broker.log'), 'latin1');
      return count(log, came[qos]) - count(log, done[qos]);
    },
    away: async () => {
      // It confirms what it has not written yet: that would be lost by nobody's fault but its own.
      await isSaved(broker, sender);
      await broker.kill();
      return () => broker.restart();
    },
    refused: [
      {
        what: 'a session that ends with its connection',
        start: () => open('clean', {}, { session: { clean: true } }),
        names: 'session.clean: true',
      },
      {
        what: 'what only version 5 has',
        start: () => open('old', { retain: 'new', share: undefined }, { version: '3.1.1' }),
        names: 'retain: new needs version 5',
      },
    ],
    dispose: async () => {
      for (const dialled of gateways.values()) await (await dialled).stop();
      await sender.endAsync(true);
      await broker.dispose();
    },
  };
}

/** With the attributes of an event as the MQTT binding has them; resolves when the broker has confirmed it. */
async function publish(sender: MqttClient, { body, headers = {}, event = {} }: Outgoing, qos: 1 | 2): Promise<void> {
  const { 'content-type': contentType, ...others } = headers;
  const said = { ...others, ...event };
  // The library never sends a message that has them and none of them.
  const userProperties = Object.keys(said).length > 0 ? { userProperties: said } : {};
  const properties = { ...userProperties, ...(contentType !== undefined && { contentType }) };
  let isKept = true;
  // The library does not tell what the broker answers.
  const listen = (packet: Packet): void => {
    if (packet.cmd === 'puback' || packet.cmd === 'pubrec') isKept = packet.reasonCode !== noSubscribers;
  };
  sender.on('packetreceive', listen);
  await sender
    .publishAsync(topic, Buffer.from(body), { qos, properties })
    .finally(() => sender.off('packetreceive', listen));
  if (!isKept) throw new Error('nobody has subscribed');
}

function count(text: string, what: RegExp): number {
  return [...text.matchAll(what)].length;
}
