import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { request } from 'undici';
import { afterEach, describe, expect, it } from 'vitest';
import { testGateway, type TestGateway } from '../support/gateway.ts';

const yaml = (more = ''): string => `
gateway: { listen: { port: 0 }, management: { port: 0 }, auth: { basic: { user: admin, password: geheim } }${more} }
functions: { echo: { behaviour: echo } }
`;

let gateway: TestGateway | undefined;
afterEach(() => gateway?.[Symbol.asyncDispose]());

describe('the files of the console', () => {
  const folder = join(import.meta.dirname, '../../core/ui');
  const get = async (path: string): Promise<{ status: number; headers: Record<string, unknown>; bytes: Buffer }> => {
    const headers = { 'accept-encoding': 'gzip' };
    const { statusCode, headers: answered, body } = await request(`${gateway?.url}${path}`, { headers });
    return { status: statusCode, headers: answered, bytes: Buffer.from(await body.arrayBuffer()) };
  };

  it('are for anybody, since they tell nothing, and run nothing but themselves', async () => {
    gateway = await testGateway(yaml());
    expect((await get('/')).headers['location']).toBe('/ui/');
    const { status, headers, bytes } = await get('/ui/');
    expect(status).toBe(200);
    expect(headers).toMatchObject({ 'cross-origin-opener-policy': 'same-origin', 'x-content-type-options': 'nosniff' });
    const policy = String(headers['content-security-policy']);
    for (const part of ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"]) {
      expect(policy).toContain(part);
    }
    expect(policy).not.toContain('unsafe');
    const html = gunzipSync(bytes).toString();
    expect(html).not.toMatch(/<script(?![^>]*src=)|<style|\sstyle=|\son\w+=/);
    const linked = [...html.matchAll(/(?:src|href)="([^"#]+)"/g)].map(([, file]) => file);
    expect(linked.length).toBeGreaterThan(2);
    for (const file of linked) expect([file, (await get(`/ui/${file}`)).status]).toEqual([file, 200]);
  });

  it('are 150 kB at most, compressed', async () => {
    gateway = await testGateway(yaml());
    const files = readdirSync(folder);
    expect(files.length).toBeGreaterThan(5);
    let total = 0;
    for (const file of files) {
      const { status, headers, bytes } = await get(`/ui/${file}`);
      expect([file, status, headers['content-encoding']]).toEqual([file, 200, 'gzip']);
      total += bytes.length;
    }
    expect(total).toBeGreaterThan(10_000);
    expect(total).toBeLessThanOrEqual(150_000);
  });

  it('are all that is there', async () => {
    gateway = await testGateway(yaml());
    for (const path of ['/ui/..%2fserver.ts', '/ui/%2e%2e/api/server.ts', '/ui/.html', '/ui/index.html.js'])
      expect([path, (await get(path)).status]).toEqual([path, expect.toSatisfy((code: number) => code >= 400)]);
    expect((await get('/ui/nothing.js')).status).toBe(404);
  });

  it('are not there where the configuration does not want them', async () => {
    gateway = await testGateway(yaml(', console: false'));
    for (const path of ['/', '/ui/', '/ui/index.html']) expect([path, (await get(path)).status]).toEqual([path, 404]);
    expect((await get('/healthz')).status).toBe(200);
  });
});
