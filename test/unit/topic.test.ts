import { expect, it } from 'vitest';
import { natsTopics, topicMatcher } from '../../core/kit/topic.ts';

const ofNats = topicMatcher(natsTopics);
const ofAmqp = topicMatcher({ separator: '.', one: '*', rest: '#', atLeast: 0 });

it.each([
  [ofNats, 'orders.created', 'orders.created', true],
  [ofNats, 'orders.*', 'orders.created', true],
  [ofNats, 'orders.*', 'orders.created.eu', false],
  [ofNats, 'orders.*', 'orders', false],
  [ofNats, 'orders.>', 'orders.created.eu', true],
  [ofNats, 'orders.>', 'orders', false],
  [ofNats, '>', 'a.b', true],
  [ofNats, '*.created', 'orders.created', true],
  [ofNats, 'orders.created', 'orders.createdx', false],
  [ofAmqp, 'mail.#', 'mail', true],
  [ofAmqp, '#.eu', 'mail.sent.eu', true],
  [ofAmqp, '#.eu.#', 'eu', true],
  [ofAmqp, 'mail.*.eu', 'mail.eu', false],
  [ofAmqp, '#', '', true],
  [ofAmqp, '#.a.#.b', 'a.x.a.y.b', true],
  [ofAmqp, '#.a.#.b', 'b.x.a', false],
  [ofNats, 'a.*.>', 'a.b', false],
  [ofNats, '>.b.>', 'a.b.b.c', true],
])('a pattern fits a topic: %# %s %s', (matches, pattern, topic, expected) => {
  expect(matches(pattern, topic)).toBe(expected);
});
