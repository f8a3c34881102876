import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pino } from 'pino';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KeySet } from '../../core/auth/key-set.ts';
import { systemClock } from '../../core/contracts/clock.ts';
import { createCallbackSender } from '../../core/delivery/callback.ts';
import { KubeClient } from '../../plugins/providers/kubernetes/client.ts';
import { Credentials } from '../../plugins/providers/kubernetes/credentials.ts';
import { jsonLines } from '../../plugins/providers/kubernetes/json-lines.ts';
import { eventually, testGateway } from '../support/gateway.ts';
import { type RunningServer, serve } from '../support/http-functions.ts';
import { isLong } from '../support/promise.ts';

/** Answers with JSON that has no end: as fast as it is read, or, below `/drip`, a byte now and then. */
let peer: RunningServer;
let folder: string;
/** Answers that have begun and not ended, and the bytes that somebody has taken of all of them. */
const open = new Set<ServerResponse>();
let taken = 0;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-endless-'));
  const piece = Buffer.alloc(65_536, 'x');
  peer = await serve((incoming, response) => {
    open.add(response);
    incoming.resume();
    response.writeHead(incoming.url?.includes('/refused') ? 500 : 200, { 'content-type': 'application/json' });
    response.write('{"keys":"');
    const drips = incoming.url?.startsWith('/drip') ? setInterval(() => response.write('x'), 50) : undefined;
    const body = new Readable({
      read() {
        if (drips) return;
        taken += piece.length;
        this.push(piece);
      },
    });
    body.on('error', () => undefined);
    body.pipe(response, { end: false });
    response.on('close', () => {
      clearInterval(drips);
      body.destroy();
      open.delete(response);
    });
  });
});
afterAll(async () => {
  await peer[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

/** Each has let go of the peer, having taken no more than so much; the system buffers some MiB of it. */
async function letGo(mostBytes: number): Promise<void> {
  await eventually(() => (open.size === 0 ? true : undefined));
  expect(taken).toBeLessThan(mostBytes + 16 * 2 ** 20);
  taken = 0;
}

const slow = { timeout: 60_000 };

/** CVE-2023-48713, CVE-2026-26998: whatever is read of others has a most, and an end. */
describe('a peer that never stops sending', () => {
  it.each(['', '/drip'])('is left by the sender of callbacks: %s', slow, async (path) => {
    const sender = createCallbackSender({
      allow: ['127.0.0.1'],
      timeoutMs: 1000,
      userAgent: 'test',
      clock: systemClock,
    });
    const call = {
      url: `${peer.url}${path}/`,
      headers: {},
      body: new Uint8Array(1),
      signal: new AbortController().signal,
    };
    const { status, body } = await sender.send(call);
    expect(status).toBe(200);
    expect((body as Uint8Array).byteLength).toBeLessThanOrEqual(65_536);
    await letGo(65_536);
    await sender.close();
  });

  it('is left by who asks an issuer for its keys, or where they are', slow, async () => {
    const logger = pino({ level: 'silent' });
    // One that drips is left after ten seconds.
    for (const uri of [`${peer.url}/keys`, undefined, ...(isLong ? [`${peer.url}/drip`] : [])]) {
      const keys = new KeySet(peer.url, uri, systemClock, logger);
      await expect(
        Promise.resolve(keys.find({ alg: 'RS256', kid: 'x' }, { payload: '', signature: '' })),
      ).rejects.toMatchObject({
        code: 'issuer.unavailable',
      });
      await letGo(262_144);
    }
  });

  it('is left by the probes of an upstream, again and again', slow, async () => {
    const probe = (path: string) => `{ path: ${path}, interval: 100ms, timeout: 300ms, failures: 1 }`;
    await using running = await testGateway(`
gateway: { listen: { port: 0 }, management: { port: 0 } }
providers: { http: { kind: http } }
functions:
  fast: { provider: http, url: "${peer.url}", health: ${probe('/fast')} }
  drips: { provider: http, url: "${peer.url}", health: ${probe('/drip')} }
`);
    let probes = 0;
    peer.server.on('request', () => probes++);
    await eventually(() => (probes >= 8 ? true : undefined));
    expect(open.size).toBeLessThanOrEqual(2);
    const { statusCode } = await request(`${running.url}/healthz`);
    expect(statusCode).toBe(200);
    await running.gateway.stop(0);
    await letGo(probes * 2 ** 20);
  });

  it('is left by the client of an API server', slow, async () => {
    const file = join(folder, 'kubeconfig.yaml');
    writeFileSync(
      file,
      `
apiVersion: v1
kind: Config
current-context: c
clusters: [{ name: c, cluster: { server: "${peer.url}", insecure-skip-tls-verify: true } }]
users: [{ name: u, user: { token: t } }]
contexts: [{ name: c, context: { cluster: c, user: u } }]
`,
    );
    const credentials = await Credentials.load({ kubeconfig: file, context: undefined }, folder);
    const client = new KubeClient(credentials, 20_000);
    const most = { '/api/v1/pods': 64 * 2 ** 20, '/refused': 2 ** 20 };
    for (const [path, bytes] of Object.entries(most)) {
      await expect(client.ask({ method: 'GET', path })).rejects.toThrow(`it answered more than ${bytes} bytes`);
      await letGo(bytes);
    }
    const impatient = new KubeClient(credentials, 500);
    await expect(impatient.ask({ method: 'GET', path: '/drip' })).rejects.toThrow('cannot be reached');
    const { signal } = new AbortController();
    const lines = jsonLines(await client.stream({ method: 'GET', path: '/watch', signal }), signal);
    await expect(lines.next()).rejects.toThrow('a line is longer than');
    await letGo(16 * 2 ** 20);
    await client.close();
  });
});
