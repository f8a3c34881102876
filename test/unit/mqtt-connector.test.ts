import type { IPublishPacket } from 'mqtt';
import { describe, expect, it } from 'vitest';
import { mqttConnectorConfig } from '../../connectors/mqtt/config.ts';
import { sourceMessageOf } from '../../connectors/mqtt/message.ts';
import { matches } from '../../connectors/mqtt/topic.ts';
import { Window } from '../../connectors/mqtt/window.ts';
import { mqttConnectionConfig } from '../../plugins/connections/mqtt/index.ts';

const packet = (messageId: number, payload: string, more: Partial<IPublishPacket> = {}): IPublishPacket => ({
  cmd: 'publish',
  topic: 'a',
  payload: Buffer.from(payload),
  qos: 1,
  dup: false,
  retain: false,
  messageId,
  ...more,
});

describe('filters of MQTT', () => {
  it.each([
    ['sport/tennis/+', 'sport/tennis/player1', true],
    ['sport/tennis/+', 'sport/tennis/player1/ranking', false],
    ['sport/+', 'sport', false],
    ['sport/+', 'sport/', true],
    ['sport/#', 'sport', true],
    ['sport/#', 'sport/tennis/player1', true],
    ['sport/#', 'sports', false],
    ['+/+', '/finance', true],
    ['/+', '/finance', true],
    ['+', '/finance', false],
    ['#', 'any/thing', true],
    ['#', '$SYS/broker/version', false],
    ['+/monitor', '$SYS/monitor', false],
    ['$SYS/#', '$SYS/broker/version', true],
    ['$SYS/+', '$SYS/broker', true],
    ['a/$b/+', 'a/$b/c', true],
    ['$share/group/plant/+/temp', 'plant/7/temp', true],
    ['$share/group/plant/+/temp', '$share/group/plant/7/temp', false],
    ['plant/7', 'plant/7', true],
    ['plant/7', 'Plant/7', false],
  ])('%s and %s: %s', (filter, topic, fits) => {
    expect(matches(filter, topic)).toBe(fits);
  });

  it.each(['a/b', 'a', '/', 'a//b', '+', '#', 'a/#', '+/a/+', '/+/#', '$SYS/#'])('%s is one', (topic) => {
    expect(mqttConnectorConfig.safeParse({ subscribe: [{ topic }] }).error).toBeUndefined();
  });
  it.each(['', 'a#', 'a/#/b', 'a+', '+a/b', '##', 'a/b+/c', 'a\u0000b', '$share/g/a'])('%j is none', (topic) => {
    expect(mqttConnectorConfig.safeParse({ subscribe: [{ topic }] }).success).toBe(false);
  });
  it.each([
    ['a/+', 'a/b', true],
    ['a/#', 'a', true],
    ['a/#', 'a/+/c', true],
    ['+/b', 'a/+', true],
    ['#', 'a', true],
    ['a/b', 'a/c', false],
    ['a/+', 'a/b/c', false],
    ['a/+/c', 'a/b/d', false],
    ['#', '$SYS/x', false],
  ])('%s and %s overlap: %s', (one, other, overlap) => {
    const both = mqttConnectorConfig.safeParse({ subscribe: [{ topic: one }, { topic: other }] });
    expect(both.success).toBe(!overlap);
  });
});

describe('the messages of a session that are not acknowledged', () => {
  const bodies = (messages: readonly IPublishPacket[]): string[] => messages.map(({ payload }) => payload.toString());
  const taken = (window: Window, ...messages: IPublishPacket[]) => messages.map((one) => window.take(one).loan);

  it('are acknowledged in the order in which they came', () => {
    const window = new Window();
    window.reopen(false);
    const [a, b, c] = taken(window, packet(1, 'a'), packet(2, 'b', { qos: 2 }), packet(3, 'c'));
    expect([window.settle(b!), bodies(window.acknowledgeable)]).toEqual([true, []]);
    window.settle(a!);
    expect(bodies(window.acknowledgeable)).toEqual(['a', 'b']);
    window.told(2);
    expect([window.size, window.has(a!), window.has(b!), window.has(c!)]).toEqual([1, false, true, true]);
    window.release(2);
    expect(window.has(b!)).toBe(false);
  });

  it('are known again when a session that is resumed gives them again', () => {
    const window = new Window();
    window.reopen(false);
    const [held, safe] = taken(window, packet(1, 'held'), packet(2, 'safe'));
    window.settle(safe!);
    window.reopen(true);
    expect([window.size, window.held]).toEqual([0, 1]);
    const again = window.take(packet(1, 'held', { dup: true }));
    expect(again).toEqual({ loan: held, isKnown: true });
    expect(window.take(packet(2, 'safe', { dup: true })).isKnown).toBe(true);
    window.settle(held!);
    expect(bodies(window.acknowledgeable)).toEqual(['held', 'safe']);
  });

  it('are others when the number is one that the broker uses anew', () => {
    for (const another of [packet(1, 'a'), packet(1, 'b', { dup: true }), packet(1, 'a', { dup: true, topic: 'b' })]) {
      const window = new Window();
      window.reopen(false);
      const [old] = taken(window, packet(1, 'a'));
      window.reopen(true);
      expect(window.take(another).isKnown).toBe(false);
      expect([window.has(old!), window.settle(old!), window.size]).toEqual([false, false, 1]);
    }
  });

  it('do not wait for one whose number the broker uses anew', () => {
    const window = new Window();
    window.reopen(false);
    taken(window, packet(1, 'a'));
    const [other] = taken(window, packet(1, 'b'));
    window.settle(other!);
    expect(bodies(window.acknowledgeable)).toEqual(['b']);
  });

  it('are forgotten with the session, and when they do not come again', () => {
    const window = new Window();
    window.reopen(false);
    const [old] = taken(window, packet(1, 'a'));
    window.reopen(false);
    expect(window.settle(old!)).toBe(false);
    const [expired] = taken(window, packet(2, 'b'));
    window.reopen(true);
    expect(window.has(expired!)).toBe(true);
    window.reopen(true);
    expect(window.has(expired!)).toBe(false);
  });

  it('of QoS 2 are told of again, and not run again, until the broker releases them', () => {
    const window = new Window();
    window.reopen(false);
    const [one] = taken(window, packet(1, 'a', { qos: 2 }));
    window.release(1);
    expect(window.has(one!)).toBe(true);
    window.settle(one!);
    window.told(1);
    window.reopen(true);
    expect(window.take(packet(1, 'a', { qos: 2, dup: true }))).toEqual({ loan: one, isKnown: true });
    expect(bodies(window.acknowledgeable)).toEqual(['a']);
  });
});

describe('what a message of MQTT says', () => {
  const headersOf = (properties: NonNullable<IPublishPacket['properties']>, standard?: string): object =>
    Object.fromEntries(
      sourceMessageOf(packet(1, '', { properties }), { id: 'm', at: 0, contentType: standard }).headers,
    );
  it('is headers, and of an event its attributes', () => {
    expect(headersOf({ userProperties: { type: 'x', many: ['1', '2'] } })).toEqual({ type: ['x'], many: ['1', '2'] });
    expect(
      headersOf({ userProperties: { specversion: '1.0', type: 'x y', traceparent: '00-1', 'Not-Of-It': 'z' } }),
    ).toEqual({
      'ce-specversion': ['1.0'],
      'ce-type': ['x%20y'],
      'ce-traceparent': ['00-1'],
      traceparent: ['00-1'],
      'Not-Of-It': ['z'],
    });
  });
  it('is of the type that it says, else of that of the connector', () => {
    expect(headersOf({})).toEqual({});
    expect(headersOf({}, 'text/plain')).toEqual({ 'content-type': ['text/plain'] });
    expect(headersOf({ contentType: 'a/b' }, 'text/plain')).toEqual({ 'content-type': ['a/b'] });
  });
});

describe('addresses of MQTT brokers', () => {
  const accepts = (settings: object): boolean => mqttConnectionConfig.safeParse({ clientId: 'a', ...settings }).success;
  it.each(['mqtt://a', 'mqtts://a.b:8883', 'ws://a:80/mqtt', 'wss://[::1]:443/', 'mqtt://[::1]:1883'])('%s', (url) => {
    expect(accepts({ url })).toBe(true);
  });
  it.each(['http://a', 'mqtt://user:pass@a', 'mqtt://a:b', 'mqtt://a/path', 'mqtt://', 'ws://a/b?c'])(
    '%s is none',
    (url) => {
      expect(accepts({ url })).toBe(false);
    },
  );
  it('need what goes together', () => {
    expect(accepts({ tls: {} })).toBe(false);
    expect(accepts({ url: 'mqtts://a', tls: { cert: 'c.pem' } })).toBe(false);
    expect(accepts({ password: 'p' })).toBe(false);
    expect(accepts({ clientId: undefined })).toBe(false);
    expect(accepts({ clientId: undefined, session: { clean: true } })).toBe(true);
    expect(accepts({ keepalive: '1500ms' })).toBe(false);
  });
});
