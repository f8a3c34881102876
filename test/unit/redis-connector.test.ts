import fc from 'fast-check';
import { Redis } from 'ioredis';
import { describe, expect, it } from 'vitest';
import { contentOf } from '../../connectors/redis/entry.ts';
import { matchesGlob } from '../../connectors/redis/glob.ts';
import { describeWithBroker } from '../support/with-broker.ts';

await describeWithBroker('redis', 'patterns of Redis', (url) => {
  it('fit what the server thinks that they fit', async () => {
    const redis = new Redis(url);
    const prefix = `glob-${process.pid}-`;
    const character = fc.constantFrom('a', 'b', 'c', '-', '^', '\\', '[', ']', '*', '?', '.');
    const word = fc.array(character, { maxLength: 7 }).map((characters) => characters.join(''));
    const fits = async (pattern: string, topic: string): Promise<boolean> => {
      await redis.set(`${prefix}${topic}`, '', 'EX', 60);
      const keys = await redis.keys(`${prefix}${pattern}`);
      await redis.del(`${prefix}${topic}`);
      return keys.includes(`${prefix}${topic}`);
    };
    try {
      await fc.assert(
        fc.asyncProperty(word, word, async (pattern, topic) => {
          expect(matchesGlob(pattern, topic)).toBe(await fits(pattern, topic));
        }),
        { numRuns: 2000 },
      );
    } finally {
      redis.disconnect();
    }
  }, 60_000);
});

describe('patterns of Redis, by themselves', () => {
  it.each([
    ['orders.*', 'orders.eu.new', true],
    ['orders.?', 'orders.', false],
    ['h[ae]llo', 'hallo', true],
    ['h[^ae]llo', 'hello', false],
    ['h[a-c]llo', 'hbllo', true],
    ['h[c-a]llo', 'hbllo', true],
    ['a\\*b', 'a*b', true],
    ['a\\*b', 'axb', false],
    ['?', 'ß', true],
    ['', '', true],
    ['*', '', true],
  ])('%s: %s is %s', (pattern, topic, expected) => expect(matchesGlob(pattern, topic)).toBe(expected));
  it('take no longer for many stars', () => {
    // With a way back for each star it would take longer than the universe has.
    expect(matchesGlob(`${'*a'.repeat(40)}b`, 'a'.repeat(2000))).toBe(false);
  });
});

describe('an entry of a stream', () => {
  const fields = (...all: (string | Buffer)[]): Buffer[] => all.map((each) => Buffer.from(each));
  const shown = (all: Buffer[], body?: string): { headers: unknown; body: string } => {
    const content = contentOf(all, body);
    return { headers: Object.fromEntries(content.headers), body: Buffer.from(content.body).toString('latin1') };
  };
  it('has its body in a field, byte by byte, and headers in the others', () => {
    const bytes = Buffer.from([0, 255, 128, 10]);
    const { body } = contentOf(fields('body', bytes), undefined);
    expect(Buffer.from(body).equals(bytes)).toBe(true);
    expect(shown(fields('a', '1', 'data', 'x', 'a', '2', 'payload', 'y'))).toEqual({
      headers: { a: ['1', '2'], payload: ['y'] },
      body: 'x',
    });
    expect(shown(fields('json', '{}', 'body', 'b'), 'json')).toEqual({ headers: { body: ['b'] }, body: '{}' });
    expect(shown(fields('body', 'b', 'raw', Buffer.from([0xff, 0x0a])))).toEqual({
      headers: { raw: ['%FF%0A'] },
      body: 'b',
    });
  });
  it('is a JSON object where no field is the body', () => {
    const json = (all: Buffer[], body?: string): unknown => {
      const content = shown(all, body);
      expect(content.headers).toEqual({ 'content-type': ['application/json'] });
      return JSON.parse(content.body);
    };
    expect(json(fields('sensor', '7', 'value', '21.5'))).toEqual({ sensor: '7', value: '21.5' });
    expect(json(fields('tag', 'a', 'tag', 'b'))).toEqual({ tag: ['a', 'b'] });
    expect(json(fields('body', 'a', 'body', 'b'))).toEqual({ body: ['a', 'b'] });
    expect(json(fields('raw', Buffer.from([255, 0])))).toEqual({ raw_base64: '/wA=' });
    expect(json(fields('__proto__', 'x'))).toEqual(JSON.parse('{"__proto__": "x"}'));
    expect(json(fields('n', '1'), 'missing')).toEqual({ n: '1' });
  });
  it('may be a CloudEvent, with prefixes or without', () => {
    const event = { 'ce-specversion': ['1.0'], 'ce-type': ['t'], 'ce-id': ['1'], 'ce-source': ['/s'] };
    const type = { 'content-type': ['text/plain'] };
    for (const prefix of ['ce-', 'ce_', '']) {
      const named = ['specversion', '1.0', 'type', 't', 'id', '1', 'source', '/s', 'datacontenttype', 'text/plain'];
      const prefixed = named.map((each, at) => (at % 2 === 0 ? `${prefix}${each}` : each));
      expect(shown(fields(...prefixed, 'data', 'd', 'X-More', 'm'))).toEqual({
        headers: { ...event, ...type, 'X-More': ['m'] },
        body: 'd',
      });
      expect(shown(fields(...prefixed))).toEqual({ headers: { ...event, ...type }, body: '' });
    }
    expect(shown(fields('id', '1', 'type', 't', 'data', 'd'))).toEqual({
      headers: { id: ['1'], type: ['t'] },
      body: 'd',
    });
  });
});
