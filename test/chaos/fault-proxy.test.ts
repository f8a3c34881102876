import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { FaultProxy } from './fault-proxy.ts';
import { seeded } from './random.ts';

/** What came through a socket, and how it ended. */
class Reader {
  readonly chunks: Buffer[] = [];
  end: 'open' | 'FIN' | 'closed' | 'RST' = 'open';

  constructor(socket: Socket) {
    socket.on('data', (chunk: Buffer) => this.chunks.push(chunk));
    socket.on('end', () => (this.end = 'FIN'));
    socket.on('close', () => (this.end = this.end === 'RST' ? 'RST' : 'closed'));
    socket.on('error', ({ code }: NodeJS.ErrnoException) => (this.end = code === 'ECONNRESET' ? 'RST' : this.end));
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString();
  }
}

/** Two sockets with the proxy between them. `up` reads what `client` writes, `down` what `server` does. */
class Pair implements AsyncDisposable {
  readonly proxy: FaultProxy;
  /** Where the proxy leads to. */
  readonly listener: Server;
  readonly client: Socket;
  readonly server: Socket;
  readonly up: Reader;
  readonly down: Reader;

  private constructor(proxy: FaultProxy, listener: Server, client: Socket, server: Socket) {
    this.proxy = proxy;
    this.listener = listener;
    this.client = client;
    this.server = server;
    this.up = new Reader(server);
    this.down = new Reader(client);
  }

  static async open(): Promise<Pair> {
    const listener = createServer({ allowHalfOpen: true });
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    const proxy = await FaultProxy.open((listener.address() as AddressInfo).port, seeded(1));
    const client = connect({ port: proxy.port, host: '127.0.0.1', allowHalfOpen: true });
    const [server] = (await once(listener, 'connection')) as [Socket];
    return new Pair(proxy, listener, client, server);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client.destroy();
    this.server.destroy();
    await this.proxy[Symbol.asyncDispose]();
    this.listener.close();
  }
}

it('without a toxic, passes bytes and ends on, in both directions', async () => {
  await using pair = await Pair.open();
  const body = 'x'.repeat(3_000_000);
  pair.client.end(body);
  pair.server.write('answer');
  await expect.poll(() => pair.up.end).toBe('FIN');
  expect(pair.up.text === body).toBe(true);
  await expect.poll(() => pair.down.text).toBe('answer');
  pair.server.end('and more');
  await expect.poll(() => pair.down.end).toBe('closed');
  expect(pair.down.text).toBe('answerand more');
  await expect.poll(() => pair.proxy.connections).toBe(0);
});

it('passes a reset on, and what was refused', async () => {
  await using pair = await Pair.open();
  pair.server.resetAndDestroy();
  await expect.poll(() => pair.down.end).toBe('RST');
  await expect.poll(() => pair.proxy.connections).toBe(0);
  const nobody = createServer().listen(0, '127.0.0.1');
  await once(nobody, 'listening');
  pair.proxy.target = (nobody.address() as AddressInfo).port;
  nobody.close();
  await once(nobody, 'close');
  const refused = new Reader(connect(pair.proxy.port, '127.0.0.1'));
  await expect.poll(() => refused.end).toBe('RST');
});

it('latency: each byte comes so much later, in order, and in that direction only', async () => {
  await using pair = await Pair.open();
  pair.proxy.set('up', { kind: 'latency', ms: 200, jitterMs: 50 });
  const sentAt = performance.now();
  for (const part of ['one ', 'two ', 'three']) {
    pair.client.write(part);
    await delay(20);
  }
  pair.server.write('back');
  await expect.poll(() => pair.down.text).toBe('back');
  expect(pair.up.text).toBe('');
  await expect.poll(() => pair.up.text, { timeout: 5000, interval: 5 }).toBe('one two three');
  expect(performance.now() - sentAt).toBeGreaterThan(200);
});

it('black hole: takes bytes, passes none, nor an end, and all of them in order once it is gone', async () => {
  await using pair = await Pair.open();
  pair.client.write('before ');
  await expect.poll(() => pair.up.text).toBe('before ');
  pair.proxy.set('up', { kind: 'black-hole' });
  // Written out of this process: the proxy has taken it.
  await new Promise<void>((resolve) => pair.client.end('within ', () => resolve()));
  pair.server.write('back');
  await expect.poll(() => pair.down.text).toBe('back');
  await delay(100);
  expect(pair.up).toMatchObject({ text: 'before ', end: 'open' });
  pair.proxy.clear();
  await expect.poll(() => pair.up.text).toBe('before within ');
  await expect.poll(() => pair.up.end).toBe('FIN');
});

it('black hole: holds no more than the buffers of a network would', async () => {
  await using pair = await Pair.open();
  pair.proxy.set('up', { kind: 'black-hole' });
  const body = Buffer.alloc(32 * 2 ** 20, 'x');
  pair.client.write(body);
  await delay(200);
  expect(pair.client.writableLength).toBeGreaterThan(0);
  pair.proxy.clear();
  await expect.poll(() => pair.up.text.length, { timeout: 10_000 }).toBe(body.byteLength);
});

it('reset: RST for whom bytes of that direction go to, and the other side learns nothing', async () => {
  await using pair = await Pair.open();
  pair.proxy.break('down', 'reset');
  await expect.poll(() => pair.down.end).toBe('RST');
  pair.server.write('into nothing');
  await delay(50);
  expect(pair.up.end).toBe('open');
  pair.server.end();
  await expect.poll(() => pair.proxy.connections).toBe(0);
});

it('reset: of both sides', async () => {
  await using pair = await Pair.open();
  pair.proxy.break('down', 'reset');
  pair.proxy.break('up', 'reset');
  await expect.poll(() => [pair.up.end, pair.down.end]).toEqual(['RST', 'RST']);
  await expect.poll(() => pair.proxy.connections).toBe(0);
});

it('half-close: FIN in that direction, and the other one lives on', async () => {
  await using pair = await Pair.open();
  pair.proxy.break('down', 'half-close');
  await expect.poll(() => pair.down.end).toBe('FIN');
  pair.server.write('into nothing');
  pair.client.write('still heard');
  await expect.poll(() => pair.up.text).toBe('still heard');
  expect(pair.down.text).toBe('');
});

it('slicer: bytes arrive one by one', async () => {
  await using pair = await Pair.open();
  pair.proxy.set('down', { kind: 'slicer' });
  const text = 'torn into pieces '.repeat(50);
  pair.server.write(text);
  await expect.poll(() => pair.down.text, { timeout: 5000 }).toBe(text);
  // A reader that is late finds some of them together.
  expect(pair.down.chunks.length).toBeGreaterThan(text.length / 10);
});

it('bandwidth: so many bytes in a second, and what is left at once when it is lifted', async () => {
  await using pair = await Pair.open();
  pair.proxy.set('down', { kind: 'bandwidth', bytesPerSecond: 100_000 });
  const sentAt = performance.now();
  pair.server.write(Buffer.alloc(30_000, 'x'));
  await expect.poll(() => pair.down.text.length, { timeout: 10_000, interval: 5 }).toBe(30_000);
  expect(performance.now() - sentAt).toBeGreaterThan(280);
  pair.server.write(Buffer.alloc(50_000_000, 'x'));
  await delay(20);
  expect(pair.down.text.length).toBeLessThan(1_000_000);
  pair.proxy.clear();
  await expect
    .poll(() => pair.down.chunks.reduce((sum, { length }) => sum + length, 0), { timeout: 10_000 })
    .toBe(50_030_000);
});

it('what is set meets connections that are made later, too', async () => {
  await using pair = await Pair.open();
  pair.proxy.set('up', { kind: 'black-hole' });
  const accepted = once(pair.listener, 'connection') as Promise<[Socket]>;
  const later = connect({ port: pair.proxy.port, host: '127.0.0.1' });
  const [server] = await accepted;
  const reader = new Reader(server);
  await new Promise<void>((resolve) => later.write('unheard', () => resolve()));
  await delay(50);
  expect(reader.text).toBe('');
  pair.proxy.clear();
  await expect.poll(() => reader.text).toBe('unheard');
  later.destroy();
  server.destroy();
});
