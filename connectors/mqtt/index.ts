import { defineConnector } from '../../core/contracts/definition.ts';
import type { MqttConnection } from '../../plugins/connections/mqtt/connection.ts';
import { mqttConnectorConfig } from './config.ts';
import { MqttConnector } from './connector.ts';
import { matches } from './topic.ts';

export default defineConnector({
  kind: 'mqtt',
  summary:
    'Topics of MQTT by a session that the broker keeps; acknowledged when they are in the queue of their function, or when it ' +
    'has answered.',
  config: mqttConnectorConfig,
  connection: 'mqtt',
  // MQTT is told in the order of arrival, and has no word to hand a message back: with `processed` a slow function holds up
  // the acknowledgements behind it.
  messages: { acks: ['enqueued', 'processed'], matches },
  topics: ({ subscribe }) => subscribe.map(({ topic }) => topic),
  lint: {
    rules: {
      'mqtt-at-most-once': {
        summary: 'Messages of MQTT may be lost.',
        why:
          'With QoS 0, what comes while nobody listens, or what a crash interrupts, is gone. Use QoS 1, also where it is ' +
          'published, and a connection whose session the broker keeps.',
      },
    },
    check: function* ({ subscribe }) {
      for (const [index, { qos, topic }] of subscribe.entries()) {
        if (qos > 0) continue;
        yield { path: ['subscribe', index, 'qos'], code: 'mqtt-at-most-once', message: `${topic} with QoS 0` };
      }
    },
  },
  examples: [
    { subscribe: [{ topic: 'plant/+/temp' }] },
    {
      connection: 'plant',
      subscribe: [
        { topic: 'plant/+/temp', qos: 2, share: 'gateways' },
        { topic: 'alarms/#', retain: 'deliver' },
      ],
      contentType: 'application/json',
    },
    { subscribe: [{ topic: 'noise/#', qos: 0 }], delivery: 'at-most-once' },
  ],
  create: (config, host) => new MqttConnector(config, host, host.connection<MqttConnection>()),
});
