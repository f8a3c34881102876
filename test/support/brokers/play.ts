import { once } from 'node:events';
import { Kafka, logLevel } from 'kafkajs';
import { connect } from 'nats';
import { messageOf } from '../../../core/contracts/errors.ts';
import { brokerKinds, isBrokerKind, type OwnBroker, startBroker } from '../brokers.ts';

// `npm run brokers [KIND…]`: brokers for playing by hand, until Ctrl-C.
const wanted = process.argv.slice(2);
const unknown = wanted.filter((kind) => !isBrokerKind(kind));
if (unknown.length > 0) throw new Error(`no broker ${unknown.join(', ')}; known: ${brokerKinds.join(', ')}`);

const interrupted = Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
// A signal's listener does not keep a process alive.
const alive = setInterval(() => undefined, 60_000);
/** Where the configurations in config/examples look for them. */
const ports = { nats: 4222, redis: 6379, amqp: 5672, kafka: 9092, mqtt: 1883 } as const;
const started: OwnBroker[] = [];
const all = brokerKinds
  .filter((kind) => wanted.length === 0 || wanted.includes(kind))
  .map(async (kind) => {
    try {
      const broker = await startBroker(kind, { port: ports[kind] });
      started.push(broker);
      const made = await prepare(broker);
      say(`${kind.padEnd(6)} ${broker.url}   (${broker.folder})${made}`);
    } catch (error) {
      say(`${kind.padEnd(6)} ${messageOf(error)}`);
    }
  });
await Promise.race([Promise.all(all), interrupted]);
if (started.length > 0) {
  say('Ctrl-C ends them, and removes what they hold.');
  await interrupted;
}
clearInterval(alive);
await Promise.all(started.map(async (broker) => broker.dispose()));

/** What the examples need to be there; returns what to say of it. */
async function prepare({ kind, url }: OwnBroker): Promise<string> {
  if (kind === 'nats') {
    const nats = await connect({ servers: url });
    await (await nats.jetstreamManager()).streams.add({ name: 'ORDERS', subjects: ['orders.>'] });
    await nats.close();
    return ', with the stream ORDERS';
  }
  if (kind === 'kafka') {
    const admin = new Kafka({ brokers: [url], logLevel: logLevel.NOTHING }).admin();
    await admin.connect();
    await admin.createTopics({ topics: [{ topic: 'orders.v1', numPartitions: 6 }], waitForLeaders: true });
    await admin.disconnect();
    return ', with the topic orders.v1';
  }
  return '';
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
