import type { ConsumeMessage } from 'amqplib';
import type { Msg } from 'nats';
import { describe, expect, it } from 'vitest';
import * as amqp from '../../connectors/amqp/message.ts';
import { lentOf } from '../../connectors/jetstream/message.ts';
import { headersOfMessage, originOf } from '../../core/kit/event.ts';

/** Messages that the fuzzers of `test/fuzz` found. */
describe('a message of AMQP', () => {
  const read = (headers: Record<string, unknown>) =>
    amqp.sourceMessageOf(
      {
        content: Buffer.from('body'),
        fields: { routingKey: 'key', exchange: '', redelivered: false },
        properties: { headers },
      } as unknown as ConsumeMessage,
      { queue: 'q', id: 'own', way: {}, now: 0 },
    );

  it.each([-1, -1n, 1.5, '7', Number.NaN, Infinity, { valueOf: 'x' }])(
    'was given once when its sender says %o of it (P18)',
    (count) => expect(read({ 'x-delivery-count': count }).attempt).toBe(1),
  );
  it('was given as often as the queue says', () => {
    expect(read({ 'x-delivery-count': 2 }).attempt).toBe(3);
    expect(read({ 'x-delivery-count': 2n }).attempt).toBe(3);
  });
  it('has an offset only if that is a number (P18)', () => {
    // Number() throws at such a table.
    expect(read({ 'x-stream-offset': { toString: 'x', valueOf: 'y' } }).id).toBe('own');
    expect(read({ 'x-stream-offset': 5n }).id).toBe('q:5');
  });
});

describe('a message of JetStream', () => {
  const lent = (reply: string) => lentOf({ reply } as Msg);

  it('says in three ways how it was lent', () => {
    const expected = { deliveries: 2, sequence: '7', nanoseconds: '1764288000000000000', pending: 9 };
    for (const where of ['', 'hub.ACCOUNT.'])
      for (const random of ['', '.x7'])
        expect(lent(`$JS.ACK.${where}ORDERS.millrace.2.7.8.1764288000000000000.9${random}`)).toEqual(expected);
  });
  it.each([
    '',
    'ACK.ORDERS.millrace.1.7.7.1764288000000000000.0',
    '$JS.ACK.ORDERS.millrace.0.7.7.1764288000000000000.0',
    '$JS.ACK.ORDERS.millrace.1.x.7.1764288000000000000.0',
    '$JS.ACK.ORDERS.millrace.1.7.7.soon.0',
    '$JS.ACK.ORDERS.millrace.1.7.7.99999999999999999999999999.0',
  ])('is none where the subject is "%s" (P18)', (reply) => {
    expect(() => lent(reply)).toThrow('no message of a stream');
  });
});

describe('the headers of a message', () => {
  it('hold nothing that HTTP cannot carry, its id too (P18)', () => {
    const message = { topic: 'ключ', id: 'ключ:1-0', at: 0, headers: [], body: Buffer.alloc(0), attempt: 1 };
    const headers = headersOfMessage(message, originOf('redis', 'entries'), 0);
    expect(headers).toMatchObject({ 'ce-id': encodeURIComponent('ключ:1-0'), 'x-topic': encodeURI('ключ') });
  });
  it('tell when it came where nobody has dated it, and call it what its connector calls it', () => {
    const message = { topic: 't', id: 'own:1', hasPlainId: true, headers: [], body: Buffer.alloc(0), attempt: 1 };
    const now = Date.UTC(2026, 10, 29);
    const headers = headersOfMessage(message, originOf('test', 'source'), now);
    expect(headers).toMatchObject({ 'ce-id': 'own:1', 'ce-time': '2026-11-29T00:00:00.000Z' });
    expect(headersOfMessage({ ...message, at: 0 }, originOf('test', 'source'), now)['ce-time']).toBe(
      '1970-01-01T00:00:00.000Z',
    );
  });
  it('take half a character for a sign that is unknown (P18)', () => {
    const half = '\ud800';
    const message = {
      topic: half,
      id: half,
      at: 0,
      headers: [['x', [half]]] as const,
      body: Buffer.alloc(0),
      attempt: 1,
    };
    expect(headersOfMessage(message, originOf('test', 'source'), 0)).toMatchObject({
      'ce-id': '%EF%BF%BD',
      x: '%EF%BF%BD',
    });
  });
});
