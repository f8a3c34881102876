import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { request } from 'undici';
import { afterEach } from 'vitest';
import { testGateway, type TestGateway } from './gateway.ts';

export const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

/** May deploy in the namespace `dev` only. */
export const devToken = 'mr_dev0123456789abcdefghijkl';

export const openFaasYaml = (folder: string, more = ''): string => `
gateway:
  listen: { port: 0 }
  management: { port: 0 }
  auth:
    basic: { user: admin, password: geheim }
    tokens: [{ name: dev-ci, token: "${devToken}", scopes: [deploy], namespaces: [dev] }]
  deployments: { refresh: 200ms }
stores: { default: { kind: sqlite, path: ${folder}/store.db } }
queues: { default: { kind: sqlite, path: ${folder}/queue.db } }
providers:
  inline: { kind: inline-test }
  functions:
    kind: process
    allowDeploy: true
    secretsPath: ${folder}/secrets
    images:
      ghcr.io/openfaas/alpine: {}
      node-http: { mode: http, command: [${process.execPath}, ${join(import.meta.dirname, '../fixtures/process/answers.ts')}] }
      functions/figlet: { command: [sh, -c, "tr a-z A-Z"] }
functions:
  configured: { provider: inline, behaviour: echo }
${more}`;

export async function startOpenFaas(more?: string, folder = mkdtempSync(join(tmpdir(), 'millrace-openfaas-'))) {
  const running: TestGateway = await testGateway(openFaasYaml(folder, more));
  cleanups.push(() => running[Symbol.asyncDispose]());
  return { ...running, folder, faas: faasCli(running.url) };
}

/** What faas-cli sends for its commands, byte for byte where a gateway could tell: see openfaas.md of the founders, §2. */
export function faasCli(url: string) {
  const authorization = `Basic ${Buffer.from('admin:geheim').toString('base64')}`;
  const send = async (method: string, path: string, data?: unknown, headers: Record<string, string> = {}) => {
    const answer = await request(`${url}${path}`, {
      method,
      headers: {
        'user-agent': 'faas-cli/0.17.3',
        authorization,
        ...(data !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      body: data === undefined ? null : JSON.stringify(data),
    });
    const text = await answer.body.text();
    return { status: answer.statusCode, headers: answer.headers, text };
  };
  const json = async (path: string) => JSON.parse((await send('GET', path)).text) as Record<string, never>[];
  return {
    send,
    json,
    /** PUT, and POST on 404 only. */
    deploy: async (service: string, image: string, more: Record<string, unknown> = {}) => {
      const asked = { service, image, namespace: '', envProcess: '', labels: {}, annotations: null, ...more };
      const put = await send('PUT', '/system/functions', asked);
      return put.status === 404 ? send('POST', '/system/functions', asked) : put;
    },
    /** Without credentials. */
    invoke: async (name: string, body = '', how = 'function') => {
      const answer = await request(`${url}/${how}/${name}`, {
        method: 'POST',
        headers: { 'content-type': 'text/plain', 'user-agent': 'faas-cli/0.17.3' },
        body,
      });
      return { status: answer.statusCode, headers: answer.headers, text: await answer.body.text() };
    },
  };
}
