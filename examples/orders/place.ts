/** Makes the topics of the shop, unless they are there, and places the sample orders, keyed by customer. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Kafka, logLevel } from 'kafkajs';

const brokers = (process.env['KAFKA_BROKERS'] ?? '127.0.0.1:9092').split(',');
const kafka = new Kafka({ brokers, logLevel: logLevel.ERROR });

const admin = kafka.admin();
await admin.connect();
const topics = ['orders.placed', 'orders.charged'].map((topic) => ({ topic, numPartitions: 6 }));
await admin.createTopics({ topics, waitForLeaders: true });
await admin.disconnect();

const lines = readFileSync(join(import.meta.dirname, 'samples/orders.ndjson'), 'utf8')
  .trim()
  .split('\n');
const messages = lines.map((value) => ({ key: (JSON.parse(value) as { customer: string }).customer, value }));
const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
await producer.connect();
await producer.send({ topic: 'orders.placed', acks: -1, messages });
await producer.disconnect();
process.stdout.write(`placed ${messages.length} orders\n`);
