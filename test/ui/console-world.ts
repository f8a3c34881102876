import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { request } from 'undici';
import { createToken } from '../../core/auth/token.ts';
import { type WatchedPage, watchedPage } from '../support/browser.ts';
import { testGateway, type TestGateway } from '../support/gateway.ts';
import { type RunningServer, serve } from '../support/http-functions.ts';

/** What a stranger would have run: in a page that made HTML of text, it would say so. */
export const hostile = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>';

const token = createToken();
export const password = 'correct horse battery staple';

const yamlOf = (folder: string, upstream: string): string => `
gateway:
  listen: { port: 0 }
  management: { port: 0 }
  auth:
    basic: { user: admin, password: "${password}" }
    tokens: [{ name: all, token: "${token}", scopes: [invoke, deploy, operate], namespaces: ['*'] }]
queues: { default: { kind: sqlite, path: ${folder}/queue.sqlite } }
stores: { default: { kind: sqlite, path: ${folder}/store.sqlite } }
providers:
  inline: { kind: inline-test }
  http: { kind: http }
  process:
    kind: process
    allowDeploy: true
    secretsPath: ${folder}
    images: { writes: { command: [sh, -c, "cat >&2"], combineOutput: false } }
policies: { retry: { twice: { attempts: 2, backoff: { initial: 10ms } } } }
functions:
  echo: { provider: inline, behaviour: echo }
  show: { provider: inline, behaviour: show }
  fails: { provider: inline, behaviour: fail, invoke: { retry: twice } }
  held: { provider: inline, behaviour: held, invoke: { concurrency: 1 } }
  streams: { provider: http, url: "${upstream}" }
connectors:
  http: { kind: http }
  nightly: { kind: cron, schedule: '0 3 * * *', function: echo }
`;

/** A gateway with functions of each sort, and how people and programs come to it. */
export class ConsoleWorld implements AsyncDisposable {
  readonly url: string;
  readonly gateway: TestGateway;
  /** Ends the answer of `streams` that has begun. */
  readonly streaming: (() => void)[];
  readonly #upstream: RunningServer;

  private constructor(gateway: TestGateway, upstream: RunningServer, streaming: (() => void)[]) {
    this.gateway = gateway;
    this.url = gateway.url;
    this.#upstream = upstream;
    this.streaming = streaming;
  }

  static async start(): Promise<ConsoleWorld> {
    const streaming: (() => void)[] = [];
    const upstream = await serve((_request, response) => {
      response.write('the first piece');
      streaming.push(() => response.end(', the last piece'));
    });
    const folder = mkdtempSync(join(tmpdir(), 'millrace-console-'));
    return new ConsoleWorld(await testGateway(yamlOf(folder, upstream.url)), upstream, streaming);
  }

  /** Says what the API answered; in the case of a 202, by id. */
  async send(
    method: 'GET' | 'POST',
    path: string,
    body?: string,
    type = 'text/plain',
  ): Promise<{ id: string; text: string }> {
    const headers = { authorization: `Bearer ${token}`, ...(body !== undefined && { 'content-type': type }) };
    const answer = await request(`${this.url}${path}`, { method, headers, body: body ?? null });
    const text = await answer.body.text();
    if (answer.statusCode >= 300) throw new Error(`${method} ${path}: ${answer.statusCode} ${text}`);
    return { id: String(answer.headers['x-invocation-id']), text };
  }

  /** A function that writes to its log what it is sent. */
  async deploy(service: string): Promise<void> {
    await this.send('POST', '/system/functions', JSON.stringify({ service, image: 'writes' }), 'application/json');
  }

  /** The console, signed in. */
  async open(browser: Browser, view: string, options?: BrowserContextOptions): Promise<WatchedPage> {
    const watched = await watchedPage(browser, options);
    await watched.page.addInitScript(`sessionStorage.setItem('millrace.authorization', 'Bearer ${token}')`);
    await go(watched.page, this.url, view);
    return watched;
  }

  /** Nobody is signed in. */
  async visit(browser: Browser): Promise<WatchedPage> {
    const watched = await watchedPage(browser);
    await watched.page.goto(`${this.url}/ui/`);
    return watched;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.gateway[Symbol.asyncDispose]();
    await this.#upstream[Symbol.asyncDispose]();
  }
}

export const wrongToken = createToken();
export const rightToken = token;

/** Resolves once the page shows the view, and is live. */
export async function go(page: Page, url: string, view: string): Promise<void> {
  await page.goto(`${url}/ui/#/${view}`);
  await page.locator('#live', { hasText: 'Live' }).waitFor();
  await page.locator('h1').waitFor();
}
