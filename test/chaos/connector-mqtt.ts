import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { connectAsync, type MqttClient } from 'mqtt';
import type { OwnBroker } from '../support/brokers.ts';
import type { CrashConnector } from './connectors.ts';

const confirmMs = 2000;

/**
 * A session and a topic for each gateway: Mosquitto forgets shared subscriptions when it ends, and with them what comes
 * before the gateways are back.
 */
export const mqtt: CrashConnector = {
  kind: 'mqtt',
  broker: 'mqtt',
  acks: ['processed', 'enqueued'],
  connection: (url) => `url: "${url}", clientId: "crash-\${PLACE}", keepalive: 3s`,
  connector: (topic) => `subscribe: [{ topic: "crash/${topic}/\${PLACE}" }]`,
  // Those of its own are in test/api/mqtt-connector.crash.test.ts.
  failpoints: [],
  // Half of its messages go into the queue: so many at a time that some of them are in whatever it commits.
  early: { failpoints: ['queue.before-commit:20', 'queue.before-commit:30'], paceMs: 5 },
  stallMs: 6000,
  // All that it has in its sessions: after one was resumed, Mosquitto 2.0.11 gives more at once than it is told to (`receiveMaximum`).
  givesAgain: (broker) => messagesIn(stateOf(broker)),
  open: async (broker, gateways) => {
    const producer = new MqttProducer(broker);
    let count = 0;
    return {
      publish: async (topic, body) => producer.publish(`crash/${topic}/${count++ % gateways}`, body),
      // It tells nobody.
      left: async () => undefined,
      close: async () => producer.close(),
    };
  },
};

/** mqtt.js as anybody uses it. Nothing is sent again by itself: whoever is not told does not know. */
class MqttProducer {
  readonly #broker: OwnBroker;
  #dialling: Promise<MqttClient> | undefined;

  constructor(broker: OwnBroker) {
    this.#broker = broker;
  }

  /**
   * Resolves when Mosquitto has confirmed it and has written its state since: it confirms first, and what it had not written
   * when it was killed is lost, whoever listens. It does both in one thread, so that what it writes after a word has it.
   */
  async publish(topic: string, body: Buffer): Promise<void> {
    const client = await (this.#dialling ??= this.#dial());
    const over = new AbortController();
    const lost = new Promise<never>((_resolve, reject) => {
      client.once('close', () => reject(new Error('the connection was lost')));
      void delay(confirmMs, undefined, { signal: over.signal }).then(
        () => reject(new Error('it was not confirmed in time')),
        () => undefined, // It was.
      );
    });
    try {
      await Promise.race([client.publishAsync(topic, body, { qos: 1 }), lost]);
      const confirmedAt = Date.now();
      while (statSync(stateOf(this.#broker)).mtimeMs <= confirmedAt) await Promise.race([delay(5), lost]);
    } finally {
      over.abort();
    }
  }

  async close(): Promise<void> {
    const client = await this.#dialling?.catch(() => undefined);
    client?.end(true);
  }

  async #dial(): Promise<MqttClient> {
    try {
      const client = await connectAsync(this.#broker.url, {
        protocolVersion: 5,
        reconnectPeriod: 0,
        connectTimeout: confirmMs,
      });
      client.setMaxListeners(0);
      client.on('error', () => undefined); // `close` follows.
      client.on('close', () => (this.#dialling = undefined));
      return client;
    } catch (error) {
      this.#dialling = undefined;
      throw error;
    }
  }
}

function stateOf({ folder }: OwnBroker): string {
  return join(folder, 'mosquitto.db');
}

/** Its magic, a checksum and its version, of four bytes each. */
const headBytes = 15 + 4 + 4;
const messageChunk = 3;

/** How many messages of sessions are in what Mosquitto has written (version 6 of its format). */
function messagesIn(file: string): number {
  const bytes = readFileSync(file);
  let count = 0;
  for (let at = headBytes; at < bytes.length; at += 8 + bytes.readUInt32BE(at + 4)) {
    if (bytes.readUInt32BE(at) === messageChunk) count++;
  }
  return count;
}
