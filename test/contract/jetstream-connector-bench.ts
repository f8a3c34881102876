import { headers as natsHeaders } from 'nats';
import { jetstreamConnectorConfig } from '../../connectors/jetstream/config.ts';
import { JetstreamConnector } from '../../connectors/jetstream/connector.ts';
import { type Clock, systemClock } from '../../core/contracts/clock.ts';
import type { Connector } from '../../core/contracts/connector.ts';
import {
  brokerTraits,
  type ConnectorBench,
  type ConnectorTraits,
  type Outgoing,
} from '../../core/testing/connector-bench.ts';
import { connectorHost } from '../../core/testing/connector-host.ts';
import type { Nats } from '../../plugins/connections/nats/connection.ts';
import { startBroker } from '../support/brokers.ts';
import { dial } from './jetstream-bench.ts';

/** The server's own limit holds for the headers as well. */
export const jetstreamTraits: ConnectorTraits = { ...brokerTraits, maxBodyBytes: 2 ** 20 - 4096 };

/** Kept by a word each third of it: a machine that holds a process up for two seconds takes nothing away. */
const ackWaitMs = 6000;
let count = 0;

/** A stream of its own on that server, or on one of its own without. */
export async function jetstreamConnectorBench(url: string | undefined): Promise<ConnectorBench> {
  const stream = `trial-${process.pid}-${++count}`;
  const topic = `${stream}.some`;
  const own = url === undefined ? await startBroker('nats') : undefined;
  const servers = own?.url ?? url ?? '';
  const sender = await dial(servers);
  const dialled = [sender];
  const manager = await sender.manager();
  await manager.streams.add({ name: stream, subjects: [topic] });
  /** How far each gateway's time is ahead: it has slept for so long, without knowing it. */
  const aheadMs = new Map<number, number>();
  const open = async (gateway: number, settings: Record<string, unknown> = {}): Promise<Connector> => {
    const clock: Clock = {
      now: () => systemClock.now(),
      monotonic: () => systemClock.monotonic() + (aheadMs.get(gateway) ?? 0),
    };
    const nats = await dial(servers);
    dialled.push(nats);
    const config = jetstreamConnectorConfig.parse({
      stream,
      durable: 'workers',
      ackWait: `${ackWaitMs}ms`,
      ...settings,
    });
    const connector = new JetstreamConnector(config, connectorHost('jetstream', { clock, connection: nats }), nats);
    await connector.start();
    return connector;
  };
  return {
    kind: 'jetstream',
    topic,
    open: (gateway) => open(gateway),
    send: async (messages) => {
      for (const message of messages) await publish(sender, topic, message);
    },
    left: async () => {
      const { num_ack_pending: unacknowledged, num_pending: waiting } = await manager.consumers
        .info(stream, 'workers')
        // Nobody has made the consumer yet: all waits for it.
        .catch(async () => ({ num_ack_pending: 0, num_pending: (await manager.streams.info(stream)).state.messages }));
      return unacknowledged + waiting;
    },
    lose: async (gateway) => void aheadMs.set(gateway, (aheadMs.get(gateway) ?? 0) + ackWaitMs),
    ...(own && {
      away: async () => {
        await own.kill();
        return () => own.restart();
      },
    }),
    refused: [
      {
        what: 'a stream that is not there',
        start: () => open(0, { stream: 'NONE' }),
        names: 'there is no stream NONE',
      },
      {
        what: 'a consumer that is another one',
        start: async () => {
          await open(0, { durable: 'other' });
          await open(0, { durable: 'other', ackWait: '7s' });
        },
        names: 'ack_wait is 6000 ms, expected 7000 ms',
      },
    ],
    dispose: async () => {
      if (!own) await manager.streams.delete(stream);
      for (const nats of dialled) await nats.stop(500);
      await own?.dispose();
    },
  };
}

async function publish(nats: Nats, topic: string, message: Outgoing): Promise<void> {
  await nats.while((client) => client.jetstream().publish(topic, message.body, { headers: natsHeadersOf(message) }));
}

/** With the attributes of an event as the NATS binding has them. */
export function natsHeadersOf({ headers = {}, event = {} }: Outgoing): ReturnType<typeof natsHeaders> {
  const made = natsHeaders();
  for (const [name, value] of Object.entries(headers)) made.set(name, value);
  for (const [name, value] of Object.entries(event)) made.set(`ce-${name}`, value);
  return made;
}
