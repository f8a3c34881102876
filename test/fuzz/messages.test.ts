import type { ConsumeMessage } from 'amqplib';
import fc from 'fast-check';
import type { IPublishPacket } from 'mqtt';
import { headers as natsHeaders, type Msg } from 'nats';
import { describe, expect, it } from 'vitest';
import { matches as matchesMqtt } from '../../connectors/mqtt/topic.ts';
import * as amqp from '../../connectors/amqp/message.ts';
import * as jetstream from '../../connectors/jetstream/message.ts';
import * as kafka from '../../connectors/kafka/message.ts';
import * as mqtt from '../../connectors/mqtt/message.ts';
import { EntryMessage } from '../../connectors/redis/message.ts';
import { matchesGlob } from '../../connectors/redis/glob.ts';
import type { SourceMessage } from '../../core/contracts/message.ts';
import { eventOf, structured } from '../../core/intake/event.ts';
import { type Filter, passes } from '../../core/intake/filters.ts';
import { headersOfMessage, originOf } from '../../core/kit/event.ts';
import { natsTopics, topicMatcher } from '../../core/kit/topic.ts';
import { decodePage } from '../../plugins/connections/kafka/page.ts';
import { fuzz, growsLinearly } from './fuzz.ts';
import { jsonText, nearly, nearlyBytes, noise } from './inputs.ts';

const now = Date.UTC(2026, 10, 28);
const clock = { now: () => now };
const names = fc.oneof(
  nearly('ce-type', 'ce_specversion', 'cloudEvents:id', 'content-type', 'x-kafka-key', 'specversion', 'id'),
  noise,
);
const types = fc.oneof(
  fc.constantFrom(
    'application/cloudevents+json',
    'application/json',
    'text/plain',
    'application/cloudevents-batch+json',
  ),
  noise,
);
const bodies = fc.oneof(jsonText, noise).map((text) => Buffer.from(text));
/** A text as a client reads it from bytes: there are no halves of characters. */
const texts = noise.map((text) => text.toWellFormed());
const numbers = fc.oneof(fc.double(), fc.integer(), fc.maxSafeInteger());

const filter: Filter = {
  any: [
    { exact: { type: 't', 'data.a.b': 1 } },
    { not: { prefix: { 'headers.content-type': 'text/', 'data.length': '1' } } },
    { suffix: { subject: '.eu', '__proto__.x': 'y' } },
  ],
};

/** All that is done with a message before a function is given it. */
interface Read {
  readonly message: SourceMessage;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly passed: boolean;
  readonly batch: string;
}

function read(message: SourceMessage): Read {
  const headers = headersOfMessage(message, originOf('test', 'source'), 0);
  const event = eventOf(message, headers);
  return { message, headers, passed: passes(filter, event), batch: JSON.stringify([structured(event, message.body)]) };
}

/** What every function and every queue counts on. */
function isWhole({ message, headers, batch }: Read): void {
  const isCarried = (text: string): boolean => /^[\t\x20-\x7e]*$/.test(text);
  const isHeader = ([name, value]: readonly [string, string | readonly string[]]): boolean =>
    /^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name) && [value].flat().every(isCarried);
  expect(Object.entries(headers).filter((header) => !isHeader(header))).toEqual([]);
  expect(message.attempt).toBeGreaterThanOrEqual(1);
  expect(Number.isFinite(message.at)).toBe(true);
  expect(message.id).toBeTypeOf('string');
  expect(Object.hasOwn(Object.prototype, 'polluted')).toBe(false);
  expect(Array.isArray(JSON.parse(batch))).toBe(true);
}

/** Of a connector that forgets to encode what HTTP cannot carry. */
function careless(message: SourceMessage): Read {
  const whole = read(message);
  const body = Buffer.from(message.body).toString();
  return { ...whole, headers: { ...whole.headers, 'x-topic': message.topic, 'x-body': body } };
}

function fuzzMessages<Given>(
  name: string,
  inputs: fc.Arbitrary<Given>,
  make: (given: Given) => SourceMessage,
  mayThrow: (error: unknown) => boolean = () => false,
): void {
  fuzz({
    name: `a message of ${name}`,
    inputs,
    mayThrow,
    parse: (given) => read(make(given)),
    holds: isWhole,
    planted: (given) => careless(make(given)),
  });
}

const amqpValue: fc.Arbitrary<unknown> = fc.oneof(
  texts,
  numbers,
  fc.bigInt(),
  fc.boolean(),
  fc.constant(null),
  nearlyBytes(Buffer.from('bytes')),
  fc.record({ '!': fc.constantFrom('timestamp', 'decimal'), value: fc.oneof(numbers, texts) }),
  fc.array(fc.oneof(texts, numbers), { maxLength: 3 }),
  fc.dictionary(texts, fc.oneof(texts, numbers), { maxKeys: 3 }),
);
fuzzMessages(
  'AMQP',
  fc.record({
    content: bodies,
    fields: fc.record({ routingKey: texts, exchange: texts, redelivered: fc.boolean() }),
    properties: fc.record(
      {
        headers: fc.dictionary(
          fc.oneof(names, fc.constantFrom('x-delivery-count', 'x-stream-offset', 'x-death')),
          amqpValue,
          { maxKeys: 4 },
        ),
        messageId: amqpValue,
        timestamp: fc.oneof(numbers, amqpValue),
        contentType: types,
        replyTo: texts,
        priority: numbers,
      },
      { requiredKeys: [] },
    ),
  }),
  (given) => {
    const message = given as unknown as ConsumeMessage;
    amqp.fingerprintOf(message);
    return amqp.sourceMessageOf(message, {
      queue: 'q',
      id: 'own',
      way: amqp.waysTo('q')(message.fields),
      stream: 's',
      now,
    });
  },
);

fuzzMessages(
  'Kafka',
  fc.record({
    // Brokers know no others.
    topic: fc.stringMatching(/^[a-zA-Z0-9._-]{1,40}$/),
    offset: fc.maxSafeInteger(),
    timestamp: numbers,
    key: fc.option(nearlyBytes(Buffer.from('key'), Buffer.from([0xff, 0]))),
    value: fc.option(bodies),
    headers: fc.array(fc.tuple(names, fc.option(nearlyBytes(Buffer.from('1.0'), Buffer.from('application/json')))), {
      maxLength: 4,
    }),
  }),
  ({ topic, ...given }) => kafka.sourceMessageOf(topic, 3, given, { attempt: 1, keyed: true, clock }),
);

fuzzMessages(
  'MQTT',
  fc.record({
    topic: texts,
    payload: fc.oneof(bodies, texts),
    qos: fc.constantFrom(0, 1, 2),
    retain: fc.boolean(),
    dup: fc.boolean(),
    properties: fc.option(
      fc.record(
        {
          userProperties: fc.dictionary(names, fc.oneof(texts, fc.array(texts, { maxLength: 3 })), { maxKeys: 4 }),
          contentType: types,
          responseTopic: texts,
          correlationData: bodies,
        },
        { requiredKeys: [] },
      ),
      { nil: undefined },
    ),
  }),
  (given) =>
    mqtt.sourceMessageOf(given as unknown as IPublishPacket, { id: '1', at: now, contentType: 'application/json' }),
);

fuzzMessages(
  'Redis',
  fc.record({
    key: texts,
    id: fc.tuple(fc.maxSafeInteger(), fc.nat()).map(([ms, more]) => `${Math.abs(ms)}-${more}`),
    count: fc.integer({ min: 1, max: 100 }),
    fields: fc.array(
      fc.oneof(
        names.map((name) => Buffer.from(name)),
        bodies,
        nearlyBytes(Buffer.from('body'), Buffer.from([0xc3, 0x28])),
      ),
      { maxLength: 7 },
    ),
  }),
  (given) => new EntryMessage({ ...given, fields: given.fields }, undefined, now),
);

fuzzMessages(
  'JetStream',
  fc.record({
    subject: texts,
    reply: nearly('$JS.ACK.ORDERS.millrace.1.7.7.1764288000000000000.0', '$JS.ACK.hub.ACC.ORDERS.c.2.7.8.1764.0.x'),
    data: bodies,
    names: fc.array(fc.tuple(names, texts), { maxLength: 4 }),
  }),
  ({ subject, reply, data, names: given }) => {
    const headers = natsHeaders();
    for (const [name, value] of given) {
      // What the client library refuses to read never comes.
      try {
        headers.append(name, value);
      } catch {
        continue;
      }
    }
    const message = { subject, reply, data, headers } as unknown as Msg;
    return jetstream.sourceMessageOf('ORDERS', message, jetstream.lentOf(message));
  },
  (error) => error instanceof Error && error.message.startsWith('no message of a stream is acknowledged by'),
);

describe('patterns of topics', () => {
  const matchers = {
    NATS: topicMatcher(natsTopics),
    MQTT: matchesMqtt,
    Redis: matchesGlob,
  };
  const samples = ['orders.*.eu', 'orders.>', '$share/group/plant/+/temp', '#', 'a[b-z]?*', 'a\\*', '>.>.>'];
  for (const [name, matches] of Object.entries(matchers)) {
    fuzz({
      name: `those of ${name}`,
      inputs: fc.tuple(fc.oneof(nearly(...samples), noise), fc.oneof(nearly('orders.new.eu', 'plant/7/temp'), noise)),
      parse: ([pattern, topic]) => [matches(pattern, topic), matches(topic, topic)] as const,
      holds: ([fits], [pattern, topic]) => {
        expect(fits).toBeTypeOf('boolean');
        // Without a sign in it a pattern is a name.
        if (/^[a-z0-9 ]*$/.test(pattern)) expect(fits).toBe(pattern === topic);
      },
      planted: ([pattern, topic]) => [topic.startsWith(pattern), true] as const,
    });
  }
  it.each(Object.entries(matchers))('%s: many wildcards cost no more than the topic is long (P18)', (name, matches) => {
    const [separator, rest] = name === 'NATS' ? ['.', '>'] : name === 'MQTT' ? ['/', '#'] : ['', '*'];
    const pattern = `${`${rest}${separator}a${separator}`.repeat(12)}b`;
    expect(
      growsLinearly(
        (topic) => matches(pattern, topic),
        (length) => `a${separator}`.repeat(length / 2),
      ),
    ).toBe(true);
  });
});

/** The answer to a fetch, with one batch of two records, as Kafka writes it. */
function page(): Buffer {
  const record = (offset: number): number[] => [20, 0, 0, offset * 2, 2, 107, 2, 118, 2, 2, 104, 1].slice(0, 11);
  const records = Buffer.from([...record(0), ...record(1)]);
  const batch = Buffer.alloc(61);
  batch.writeInt32BE(49 + records.length, 8);
  batch[16] = 2;
  batch.writeInt32BE(1, 23);
  batch.writeBigInt64BE(1_764_288_000_000n, 27);
  batch.writeBigInt64BE(1_764_288_000_000n, 35);
  batch.writeBigInt64BE(-1n, 43);
  batch.writeInt32BE(2, 57);
  const head = Buffer.alloc(4 + 2 + 4 + 4 + 2 + 1 + 4 + 4 + 2 + 8 + 8 + 8 + 4 + 4 + 4);
  head.writeInt32BE(1, 10);
  head.writeInt16BE(1, 14);
  head[16] = 116;
  head.writeInt32BE(1, 17);
  head.writeInt32BE(-1, 51);
  head.writeInt32BE(batch.length + records.length, 55);
  return Buffer.concat([head, batch, records]);
}

fuzz({
  name: 'a page of Kafka',
  inputs: nearlyBytes(page()),
  parse: async (bytes) => {
    const { messages, next } = await decodePage(bytes, 11, 0);
    return {
      messages: [...messages].map((each) =>
        read(kafka.sourceMessageOf('t', 0, each, { attempt: 1, keyed: true, clock })),
      ),
      next,
    };
  },
  // Broken bytes are an Error that the fetch is tried again for.
  mayThrow: (error) => error instanceof Error && !(error instanceof TypeError),
  holds: ({ messages, next }) => {
    expect(next).toBeGreaterThanOrEqual(0);
    for (const message of messages) isWhole(message);
  },
  planted: (bytes) => ({ messages: [], next: Number(bytes.readBigInt64BE(Math.min(bytes.length - 8, 59))) }),
});
