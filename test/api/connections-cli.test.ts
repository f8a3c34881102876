import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { freePorts } from '../support/brokers/ports.ts';
import { inlinePlugin, testGateway } from '../support/gateway.ts';
import { LineServer } from '../support/line-server.ts';

const root = join(import.meta.dirname, '../..');
const line = join(import.meta.dirname, '../support/plugins/line.ts');

function fileOf(port: number, more = ''): string {
  const file = join(mkdtempSync(join(tmpdir(), 'millrace-connections-')), 'millrace.yaml');
  writeFileSync(
    file,
    `plugins: ['${line}']
gateway: { listen: { port: 0 }, management: { port: 0 } }
connections: { main: { kind: line, port: ${port}${more} } }
queues: { default: { kind: line-queue } }
stores: { default: { kind: line-store } }
`,
  );
  return file;
}

function start(...args: string[]): ChildProcess {
  const env = { PATH: process.env['PATH'], NO_COLOR: '1' };
  return spawn(process.execPath, ['core/main.ts', ...args], { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] });
}

async function ended(child: ChildProcess): Promise<{ code: number | null; out: string; err: string }> {
  const { stdout, stderr } = child;
  if (!stdout || !stderr) throw new Error('the streams are pipes');
  const [out, err, [code]] = await Promise.all([text(stdout), text(stderr), once(child, 'close')]);
  return { out, err, code: code as number | null };
}

const run = async (...args: string[]) => ended(start(...args));

describe('millrace check --connect', () => {
  it('starts what works over a connection, stops it, and says so', async () => {
    await using server = await LineServer.start('hello');
    const file = fileOf(server.port);
    const { code, out, err } = await run('check', file, '--connect');
    expect([code, err]).toEqual([0, '']);
    expect(out.split('\n').slice(1)).toEqual([
      'connection main (line): ok',
      'queue default (line-queue): ok, durability memory',
      'store default (line-store): ok',
      '',
    ]);
    expect(server.lines).toEqual(expect.arrayContaining(['queue stopped', 'store stopped', 'connection stopped']));
    expect(server.connections).toBe(0);
    const json = JSON.parse((await run('check', file, '--connect', '--json')).out) as { connected: unknown[] };
    expect(json.connected).toContainEqual({ type: 'connection', name: 'main', kind: 'line' });
  });

  it('without it dials nothing', async () => {
    const [port = 0] = await freePorts(1);
    expect((await run('check', fileOf(port))).code).toBe(0);
  });

  it('ends with 3 when the broker is away, 2 when it refuses, 1 when a plugin is broken', async () => {
    const away = await LineServer.make('hello');
    const unreachable = await run('check', fileOf(away.port, ', connectTimeout: 500ms'), '--connect');
    expect(unreachable.code).toBe(3);
    expect(unreachable.out).toMatch(/^connection main \(line\): failed, connection.unavailable: .* does not answer/m);
    expect(unreachable.out).not.toContain('queue default');
    await using denies = await LineServer.start('denied');
    const refused = await run('check', fileOf(denies.port), '--connect');
    expect([refused.code, refused.out]).toEqual([2, expect.stringContaining('config.invalid')]);
    await using server = await LineServer.start('hello');
    const broken = await run('check', fileOf(server.port, ', breaks: start'), '--connect');
    expect([broken.code, broken.out]).toEqual([1, expect.stringContaining('plugin.failed: the plugin is broken')]);
  });
});

describe('millrace serve', () => {
  it('does not start without its broker, and says which', async () => {
    const away = await LineServer.make('hello');
    const { code, err } = await run('serve', '--config', fileOf(away.port, ', connectTimeout: 500ms'));
    expect(code).toBe(1);
    expect(err).toMatch(/^millrace cannot start: connection "main": 127\.0\.0\.1:\d+ does not answer/m);
  });

  it('ends well when it is told to while it waits for its broker', async () => {
    // It takes the connection and says nothing.
    const silent = createServer().listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as { port: number };
    const child = start('serve', '--config', fileOf(port, ', connectTimeout: 1h'));
    const end = ended(child);
    await once(silent, 'connection');
    child.kill('SIGTERM');
    expect((await end).code).toBe(0);
    silent.close();
  });
});

it('millrace connections lists them', async () => {
  await using server = await LineServer.start('hello');
  const yaml = `connections: { main: { kind: line, port: ${server.port} } }\nqueues: { default: { kind: line-queue } }\n`;
  await using gateway = await testGateway(yaml, {}, [inlinePlugin, line]);
  const { code, out } = await run('connections', '--url', gateway.url);
  expect(code).toBe(0);
  expect(out).toMatch(/main\s+line\s+connected\s+0/);
});
