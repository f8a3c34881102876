import { once } from 'node:events';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { cases } from '../conformance/cases.ts';
import { type CaseResult, conformance } from '../conformance/suite.ts';
import { freePorts } from '../support/brokers/ports.ts';
import { testGateway } from '../support/gateway.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

const failuresOf = (results: readonly CaseResult[]) =>
  results.flatMap(({ name, failure }) => (failure === undefined ? [] : [`${name}: ${failure}`]));

describe('the conformance suite of asynchronous calls', () => {
  it('holds on Millrace, on its embedded queue, in two processes', { timeout: 180_000 }, async () => {
    const [port = 0] = await freePorts(1);
    const probe = (name: string): string =>
      `  ${name}: { provider: worker, module: ${join(import.meta.dirname, '../conformance/probe.ts')}, env: { SINK: "http://127.0.0.1:${port}/function/run" }, invoke: { retry: quick } }\n`;
    const running = await testGateway(`
gateway: { processes: 2, listen: { port: 0 }, management: { port: 0 }, callbacks: { allow: [127.0.0.1], retry: { backoff: { initial: 100ms } } } }
policies: { retry: { quick: { backoff: { initial: 100ms } } } }
queues: { default: { kind: sqlite, path: ./queue.db } }
providers: { worker: { kind: worker } }
functions:
${probe('conformance')}${probe('conformance-other')}`);
    cleanups.push(() => running[Symbol.asyncDispose]());
    const results = await conformance({
      url: running.url,
      listen: { host: '127.0.0.1', port },
      quietMs: 500,
    });
    expect(failuresOf(results)).toEqual([]);
    expect(results).toHaveLength(cases.length);
  });

  it('finds a gateway that takes everything, runs it once, and forgets it', { timeout: 90_000 }, async () => {
    const [port = 0] = await freePorts(1);
    const hasty = createServer((incoming, answer) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('end', () => {
        const path = /^\/async-function\/[^/?]+(.*)$/.exec(incoming.url ?? '')?.[1] ?? '';
        if (incoming.method !== 'POST') return void answer.writeHead(405).end();
        answer.writeHead(202, { 'x-call-id': String(incoming.headers['x-call-id'] ?? 'made') }).end();
        const { host: _, 'content-length': __, ...headers } = incoming.headers as Record<string, string>;
        const callId = { 'x-call-id': headers['x-call-id'] ?? 'made' };
        const body = Buffer.concat(chunks);
        void fetch(`http://127.0.0.1:${port}/function/run${path}`, {
          method: 'POST',
          headers: { ...headers, ...callId, connection: 'close' },
          body,
        }).catch(() => undefined);
      });
    }).listen(0, '127.0.0.1');
    await once(hasty, 'listening');
    cleanups.push(
      () => hasty.close(),
      () => hasty.closeAllConnections(),
    );
    const { port: own } = hasty.address() as { port: number };
    const results = await conformance({
      url: `http://127.0.0.1:${own}`,
      listen: { host: '127.0.0.1', port },
      quietMs: 100,
      patienceMs: 600,
    });
    const failed = results.filter(({ failure }) => failure !== undefined).map(({ name }) => name);
    const held = results.filter(({ failure }) => failure === undefined).map(({ name }) => name);
    expect(held).toContain('a call is answered 202 with a call id, and runs');
    for (const name of [
      'a callback brings the answer',
      'an answer of 503 is tried again',
      'can be cancelled',
      'does not exist is 404',
      'too large is 413',
      'answers 429 with Retry-After',
      'to the metadata address',
      'with one X-Order-Key',
      'with X-Delay',
      'is a dead letter',
    ]) {
      expect(failed.join('\n'), name).toContain(name);
    }
  });
});
