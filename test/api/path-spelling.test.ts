import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, testGateway, type TestGateway } from '../support/gateway.ts';
import { ran } from '../support/plugins/inline.ts';
import { saw } from '../support/promise.ts';
import { sendRaw } from '../support/raw-client.ts';
import { pathsLike } from './path-corpus.ts';

const admin = `Basic ${Buffer.from('admin:correct horse').toString('base64')}`;
/** Stands in every answer that is not for strangers. */
const canary = 'canary-7f3a';

let running: TestGateway;
beforeAll(async () => {
  running = await testGateway(`
gateway:
  listen: { port: 0 }
  management: { port: 0 }
  auth: { basic: { user: admin, password: correct horse } }
functions:
  open: { behaviour: show }
  closed: { behaviour: record, auth: token, labels: { name: ${canary} } }
  events: { behaviour: record, auth: event-only }
connectors:
  web: { kind: http, routes: [{ path: /api/:id, methods: [GET, POST], function: closed }] }
`);
});
afterAll(() => running[Symbol.asyncDispose]());

/** Each of them answers, or runs, what is not for strangers. */
const guarded = [
  '/system/functions',
  '/system/function/closed',
  '/function/closed',
  '/async-function/closed',
  '/api/7',
  '/function/events',
];

/** Asks for all of them without credentials; says which got what they should not. */
async function convicted(port: number, paths: readonly string[], method: string): Promise<string[]> {
  const wrong: string[] = [];
  const left = [...paths];
  const worker = async (): Promise<void> => {
    for (let path = left.shift(); path !== undefined; path = left.shift()) {
      const body = method === 'POST' ? `Content-Length: 6\r\n\r\nit ran` : '\r\n';
      const head = `${method} ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n`;
      const { text, statuses } = await sendRaw(port, head + body, 2);
      const [status = 0] = statuses;
      if (text.includes(canary)) wrong.push(`${method} ${path} was shown it`);
      // What ran at all is the function that is open to all: it shows its path. Or it waits in the queue of that one.
      const isOpen = text.includes('"path":') || (status === 202 && path.includes('/async-function/open'));
      const isPublic = status === 307 || text.endsWith('\r\n\r\nOK');
      if (status < 400 && status !== 0 && !isOpen && !isPublic) wrong.push(`${method} ${path} was answered ${status}`);
      if (status >= 500) wrong.push(`${method} ${path} was answered ${status}`);
    }
  };
  await Promise.all(Array.from({ length: 16 }, worker));
  return wrong;
}

const paths = pathsLike(guarded);

describe('however a path is spelled', () => {
  it('it shows and runs nothing that is not for strangers', { timeout: 60_000 }, async ({ task }) => {
    ran.length = 0;
    const port = Number(new URL(running.url).port);
    for (const method of ['GET', 'POST']) expect(await convicted(port, paths, method)).toEqual([]);
    await eventually(async () => {
      const { body } = await request(`${running.url}/system/queues`, { headers: { authorization: admin } });
      const rows = (await body.json()) as { ready: number; leased: number; delayed: number }[];
      return rows.every(({ ready, leased, delayed }) => ready + leased + delayed === 0) ? true : undefined;
    });
    expect(ran).toEqual([]);
    saw(task, { result: `${paths.length} spellings, each by GET and POST: 0 shown, 0 run` });
  });

  it('there are enough of them, and with credentials the plain ones are answered', async () => {
    expect(paths.length).toBeGreaterThanOrEqual(500);
    const headers = { authorization: admin };
    for (const path of ['/system/functions', '/system/function/closed']) {
      const { body } = await request(`${running.url}${path}`, { headers });
      expect(await body.text()).toContain(canary);
    }
    for (const path of ['/function/closed', '/api/7']) {
      const { statusCode } = await request(`${running.url}${path}`, { method: 'POST', headers, body: 'x' });
      expect(statusCode).toBe(200);
    }
    expect(ran).toHaveLength(2);
  });

  it('finds a guard that looks at the path as it is spelled, before a router that reads it', async () => {
    const naive = createServer(({ url = '' }, response) => {
      const isGuarded = guarded.some((path) => url.startsWith(path));
      let read = url;
      try {
        read = decodeURIComponent(new URL(url, 'http://a').pathname).replaceAll(/\/+/g, '/').toLowerCase();
      } catch {
        // As it stands, then.
      }
      if (isGuarded) response.writeHead(401).end();
      else if (guarded.some((path) => read.startsWith(path))) response.end(canary);
      else response.writeHead(404).end();
    });
    naive.listen(0, '127.0.0.1');
    await once(naive, 'listening');
    expect((await convicted((naive.address() as AddressInfo).port, paths, 'GET')).length).toBeGreaterThan(100);
    naive.close();
  });
});
