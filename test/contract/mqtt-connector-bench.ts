import { connectAsync, type IClientPublishOptions } from 'mqtt';
import { mqttConnectorConfig } from '../../connectors/mqtt/config.ts';
import { MqttConnector } from '../../connectors/mqtt/connector.ts';
import { sleep, systemClock } from '../../core/contracts/clock.ts';
import type { Connector } from '../../core/contracts/connector.ts';
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

export const mqttTraits: ConnectorTraits = {
  ...brokerTraits,
  // A session has one holder, and its messages are that one's.
  fences: false,
  handsBack: 'itself',
  acknowledges: ['accepted', 'done', 'dead', 'cancelled'],
};

let count = 0;

/** A topic of its own on that broker, or on one of its own without; a session for each gateway. */
export async function mqttConnectorBench(url: string | undefined, qos: 1 | 2): Promise<ConnectorBench> {
  const own = url === undefined ? await startBroker('mqtt') : undefined;
  const address = own?.url ?? url ?? '';
  const trial = `trial-${process.pid}-${++count}`;
  const topic = `${trial}/some`;
  const dialled: Mqtt[] = [];
  const sender = await connectAsync(address, { protocolVersion: 5, reconnectPeriod: 50 });
  const open = async (
    gateway: number,
    settings: Record<string, unknown> = {},
    connection: Record<string, unknown> = {},
  ): Promise<Connector> => {
    const clientId = `${trial}-${gateway}`;
    const config = mqttConnectionConfig.parse({ url: address, clientId, ...connection });
    const mqtt = new Mqtt(config, quietHost(systemClock));
    dialled.push(mqtt);
    await mqtt.start();
    // What comes before the gateways are back is lost by Mosquitto, which forgets shared subscriptions when it ends.
    const subscribe = [{ topic: `${trial}/#`, qos, ...(!own && { share: 'group' }) }];
    const host = connectorHost('mqtt', { connection: mqtt });
    const connector = new MqttConnector(mqttConnectorConfig.parse({ subscribe, ...settings }), host, mqtt);
    await connector.start();
    return connector;
  };
  // What is sent before anybody has a session is nobody's.
  const first = await open(0);
  first.deliveries(new CreditPool(1)).subscribe();
  while (first.health().state !== 'running') await sleep(5);
  await first.stop(500);
  return {
    kind: 'mqtt',
    topic,
    open: (gateway) => open(gateway),
    send: async (messages) => {
      for (const message of messages)
        await sender.publishAsync(topic, Buffer.from(message.body), optionsOf(message, qos));
    },
    ...(own && {
      away: async () => {
        await isSaved(own, sender);
        await own.kill();
        return () => own.restart();
      },
    }),
    refused: [
      {
        what: 'a session that is not kept',
        start: () => open(7, {}, { session: { clean: true } }),
        names: 'delivery: at-most-once',
      },
      {
        what: 'a protocol without retain handling',
        start: () => open(7, { subscribe: [{ topic, retain: 'new' }] }, { version: '3.1.1' }),
        names: 'subscribe.0.retain',
      },
    ],
    dispose: async () => {
      sender.end(true);
      for (const mqtt of dialled) await mqtt.stop();
      await own?.dispose();
    },
  };
}

/** With the attributes of an event as the MQTT binding has them. */
function optionsOf({ headers = {}, event = {} }: Outgoing, qos: 1 | 2): IClientPublishOptions {
  const { 'content-type': contentType, ...others } = headers;
  const userProperties = { ...others, ...event };
  return {
    qos,
    properties: {
      // The library writes a malformed packet for none.
      ...(Object.keys(userProperties).length > 0 && { userProperties }),
      ...(contentType !== undefined && { contentType }),
    },
  };
}
