import { createHmac } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../core/contracts/clock.ts';
import type { Headers, Invocation, Outcome } from '../../core/contracts/invocation.ts';
import { callbackHeaders, createCallbackSender, type CallbackSender } from '../../core/delivery/callback.ts';
import type { Lookup } from '../../core/delivery/callback-guard.ts';
import { succeeded } from '../../core/delivery/retry.ts';

interface Received {
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
  readonly url: string;
}

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

async function receiver(answer: (response: ServerResponse) => void): Promise<{ port: number; received: Received[] }> {
  const received: Received[] = [];
  const server = createServer((incoming, response) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      received.push({ headers: incoming.headers, body: Buffer.concat(chunks), url: incoming.url ?? '' });
      answer(response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, received };
}

function sender(more: { secret?: string; timeoutMs?: number; allow?: string[]; lookup?: Lookup } = {}): CallbackSender {
  const created = createCallbackSender({
    allow: ['127.0.0.1'],
    timeoutMs: 5000,
    userAgent: 'millrace/test',
    clock: systemClock,
    ...more,
  });
  cleanups.push(() => created.close());
  return created;
}

function send(by: CallbackSender, url: string, headers: Headers = {}, signal?: AbortSignal): Promise<Outcome> {
  return by.send({
    url,
    headers,
    body: Buffer.from('{"ok":true}'),
    signal: signal ?? new AbortController().signal,
    id: 'id-1',
  });
}

const invocation: Invocation = {
  id: '01JV0000000000000000000000',
  callId: 'call-1',
  function: 'resize.images',
  mode: 'async',
  method: 'POST',
  path: '',
  query: '',
  headers: { authorization: 'Bearer of the caller' },
  body: null,
  source: 'http',
  acceptedAt: 0,
  attempt: 3,
  timeoutMs: 1000,
  priority: 5,
  orderKey: undefined,
  depth: 1,
  callbackUrl: 'https://example.com/',
  replyTo: undefined,
};

describe('the headers of a callback', () => {
  const answer: Outcome = {
    status: 201,
    headers: {
      'content-type': 'text/plain',
      'x-custom': ['a', 'b'],
      'x-call-id': 'forged',
      'x-secret': 'nominated',
      connection: 'close, X-Secret',
      'transfer-encoding': 'chunked',
      'content-length': '3',
      host: 'evil.test',
      authorization: 'Bearer x',
      cookie: 'a=b',
      'set-cookie': ['a=b'],
      'webhook-signature': 'v1,forged',
      'x-broken': 'line\r\nbreak',
      'not a name': 'x',
    },
    body: null,
    durationMs: 1234.5678,
    failure: undefined,
    error: undefined,
  };

  it('are those of the answer that are fit to be sent, and those of OpenFaaS', () => {
    expect(callbackHeaders(invocation, answer, 5)).toEqual({
      'content-type': 'text/plain',
      'x-custom': ['a', 'b'],
      'x-call-id': 'call-1',
      'x-invocation-id': invocation.id,
      'x-function-name': 'resize.images',
      'x-function-status': '201',
      'x-duration-seconds': '1.234568',
      'x-retry': '2',
      'x-retry-max': '4',
      'x-call-depth': '2',
    });
  });

  it('may have any name', () => {
    const odd = JSON.parse('{"__proto__":"x","constructor":"y"}') as Headers;
    const headers = callbackHeaders(invocation, { ...answer, headers: odd }, 5);
    expect(Object.entries(headers).slice(0, 2)).toEqual([
      ['__proto__', 'x'],
      ['constructor', 'y'],
    ]);
  });
});

describe('sending a callback', () => {
  it('POSTs body and headers, and none that must stay behind', async () => {
    const { port, received } = await receiver((response) => response.writeHead(202).end('thanks'));
    const outcome = await send(sender(), `http://127.0.0.1:${port}/hook?x=1#part`, {
      'x-custom': ['a', 'b'],
      __proto__x: 'odd',
      authorization: 'Bearer x',
      host: 'evil.test',
      'content-length': '9999',
    });
    expect(outcome).toMatchObject({ status: 202, failure: undefined });
    expect(Buffer.from(outcome.body as Uint8Array).toString()).toBe('thanks');
    const [call] = received;
    expect(call?.url).toBe('/hook?x=1');
    expect(call?.body.toString()).toBe('{"ok":true}');
    expect(call?.headers).toMatchObject({
      host: `127.0.0.1:${port}`,
      'user-agent': 'millrace/test',
      'x-custom': 'a, b',
    });
    expect(call?.headers['content-length']).toBe('11');
    expect(call?.headers.authorization).toBeUndefined();
    expect(call?.headers['webhook-signature']).toBeUndefined();
  });

  it.each([
    ['as it is', 'a secret', Buffer.from('a secret')],
    ['in base64', `whsec_${Buffer.from('bytes!').toString('base64')}`, Buffer.from('bytes!')],
  ])('signs with a secret %s', async (_name, secret, key) => {
    const { port, received } = await receiver((response) => response.end());
    await send(sender({ secret }), `http://127.0.0.1:${port}/`, { 'webhook-signature': 'v1,forged' });
    const { headers, body } = received[0] as Received;
    const signed = `${String(headers['webhook-id'])}.${String(headers['webhook-timestamp'])}.${body.toString()}`;
    expect(headers['webhook-id']).toBe('id-1');
    expect(Math.abs(Number(headers['webhook-timestamp']) - Date.now() / 1000)).toBeLessThan(60);
    expect(headers['webhook-signature']).toBe(`v1,${createHmac('sha256', key).update(signed).digest('base64')}`);
    const bodySignature = createHmac('sha256', key).update(body).digest('hex');
    expect(headers['x-millrace-signature-256']).toBe(`sha256=${bodySignature}`);
  });

  it.each([301, 302, 303, 307, 308])('does not follow a %i, nor call it a success', async (status) => {
    const target = await receiver((response) => response.end());
    const { port } = await receiver((response) =>
      response.writeHead(status, { location: `http://127.0.0.1:${target.port}/` }).end(),
    );
    const outcome = await send(sender(), `http://127.0.0.1:${port}/`);
    expect(outcome).toMatchObject({ status, failure: 'refused', error: { code: 'callback.refused' } });
    expect(target.received).toHaveLength(0);
  });

  it.each([
    [200, undefined],
    [404, undefined],
    [410, 'refused'],
    [429, undefined],
    [503, undefined],
  ])('tells a %i with failure %s', async (status, failure) => {
    const { port } = await receiver((response) => response.writeHead(status, { 'retry-after': '7' }).end());
    const outcome = await send(sender(), `http://127.0.0.1:${port}/`);
    expect(outcome.status).toBe(status);
    expect(outcome.failure).toBe(failure);
    expect(outcome.headers['retry-after']).toBe('7');
    expect(succeeded(outcome)).toBe(status === 200);
  });

  it('reads no more of an endless answer than it needs', async () => {
    let closed = false;
    const { port } = await receiver((response) => {
      response.writeHead(200);
      const pour = (): void => {
        while (!response.destroyed && response.write(Buffer.alloc(16_384)));
      };
      response.on('drain', pour);
      response.on('close', () => (closed = true));
      pour();
    });
    const outcome = await send(sender(), `http://127.0.0.1:${port}/`);
    expect(outcome).toMatchObject({ status: 200, failure: undefined });
    expect((outcome.body as Uint8Array).length).toBe(65_536);
    await expect.poll(() => closed).toBe(true);
  });

  it('gives up at the deadline when no answer comes', async () => {
    const { port } = await receiver(() => {});
    const outcome = await send(sender({ timeoutMs: 150 }), `http://127.0.0.1:${port}/`);
    expect(outcome).toMatchObject({ status: 504, failure: 'timeout' });
  });

  it('lets the status stand when the body does not end', async () => {
    const { port } = await receiver((response) => void response.writeHead(200).write('part'));
    const outcome = await send(sender({ timeoutMs: 150 }), `http://127.0.0.1:${port}/`);
    expect(outcome).toMatchObject({ status: 200, failure: undefined });
  });

  it('covers the name server with the deadline', async () => {
    const slow = sender({ timeoutMs: 150, lookup: () => new Promise(() => {}) });
    expect(await send(slow, 'http://example.com/')).toMatchObject({ failure: 'timeout' });
  });

  it('stops when told to', async () => {
    const { port } = await receiver(() => {});
    const controller = new AbortController();
    const sending = send(sender(), `http://127.0.0.1:${port}/`, {}, controller.signal);
    setTimeout(() => controller.abort(), 50);
    expect(await sending).toMatchObject({ failure: 'cancelled' });
  });

  it('tells a refused connection from a refused address', async () => {
    const { port } = await receiver((response) => response.end());
    for (const cleanup of cleanups.splice(0)) await cleanup();
    expect(await send(sender(), `http://127.0.0.1:${port}/`)).toMatchObject({ status: 502, failure: 'connection' });
    expect(await send(sender({ allow: [] }), `http://127.0.0.1:${port}/`)).toMatchObject({
      status: 400,
      failure: 'refused',
      error: { code: 'callback.refused' },
    });
  });

  it('reports a name that does not exist as a failed connection', async () => {
    const lookup: Lookup = () => Promise.reject(new Error('ENOTFOUND'));
    expect(await send(sender({ lookup }), 'http://nowhere.test/')).toMatchObject({ failure: 'connection' });
    await expect(sender({ lookup }).check('http://nowhere.test/')).resolves.toBeUndefined();
  });

  it('is not fooled by a name that resolves differently the second time', async () => {
    const { port, received } = await receiver((response) => response.end());
    let asked = 0;
    const lookup: Lookup = async () => [{ address: asked++ === 0 ? '93.184.215.14' : '127.0.0.1', family: 4 }];
    const by = sender({ allow: [], lookup });
    await by.check(`http://rebind.test:${port}/`);
    const outcome = await send(by, `http://rebind.test:${port}/`);
    expect(outcome).toMatchObject({ failure: 'refused', error: { code: 'callback.refused' } });
    expect(received).toHaveLength(0);
    expect(asked).toBe(2);
  });

  it('connects to the address that was checked', async () => {
    const { port, received } = await receiver((response) => response.end());
    const lookup: Lookup = async () => [{ address: '127.0.0.1', family: 4 }];
    const outcome = await send(sender({ lookup }), `http://somewhere.test:${port}/`);
    expect(outcome.failure).toBeUndefined();
    expect(received[0]?.headers.host).toBe(`somewhere.test:${port}`);
  });

  it('refuses at acceptance what may not be called', async () => {
    await expect(sender().check('http://169.254.169.254/')).rejects.toMatchObject({
      code: 'callback.refused',
      status: 400,
    });
    await expect(sender().check('http://127.0.0.1:9000/')).resolves.toBeUndefined();
  });
});
