import { natsConnectorConfig } from '../../connectors/nats/config.ts';
import { NatsConnector } from '../../connectors/nats/connector.ts';
import type { ConnectorBench, ConnectorTraits } from '../../core/testing/connector-bench.ts';
import { connectorHost } from '../../core/testing/connector-host.ts';
import type { Nats } from '../../plugins/connections/nats/connection.ts';
import { startBroker } from '../support/brokers.ts';
import { dial } from './jetstream-bench.ts';
import { natsHeadersOf, jetstreamTraits } from './jetstream-connector-bench.ts';

export const natsTraits: ConnectorTraits = {
  ...jetstreamTraits,
  settlement: 'replies',
  // The server has forgotten it when it has handed it out: nobody can hold it, nor get it again.
  fences: false,
  handsBack: 'nobody',
  acknowledges: ['done', 'accepted'],
};

/** Long enough for any case, and soon over for what a kill of the server left without an answer. */
const requestMs = 8000;
let count = 0;

/** A subject of its own on that server, or on one of its own without. Each sender waits for a reply. */
export async function natsConnectorBench(url: string | undefined): Promise<ConnectorBench> {
  const own = url === undefined ? await startBroker('nats') : undefined;
  const servers = own?.url ?? url ?? '';
  const topic = `trial-${process.pid}-${++count}.some`;
  const sender = await dial(servers);
  const listeners: Nats[] = [];
  let waiting = 0;
  return {
    kind: 'nats',
    topic,
    open: async () => {
      const nats = await dial(servers);
      listeners.push(nats);
      const config = natsConnectorConfig.parse({ delivery: 'at-most-once', subjects: [topic], group: 'trial' });
      const connector = new NatsConnector(config, connectorHost('nats', { connection: nats }), nats);
      await connector.start();
      return connector;
    },
    send: async (messages) => {
      // What the server has not heard of as a subscription by now would miss it.
      for (const each of listeners) await each.client.flush();
      await sender.while(async (client) => {
        for (const message of messages) {
          waiting++;
          const answer = client.request(topic, message.body, { timeout: requestMs, headers: natsHeadersOf(message) });
          void answer
            // Without an answer it waits no longer either.
            .catch(() => undefined)
            .then(() => waiting--);
        }
        await client.flush();
      });
    },
    left: async () => waiting,
    ...(own && {
      away: async () => {
        await own.kill();
        return () => own.restart();
      },
    }),
    dispose: async () => {
      for (const nats of [...listeners, sender]) await nats.stop(500);
      await own?.dispose();
    },
  };
}
