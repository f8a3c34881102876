import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { dirname } from 'node:path';
import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import type { FunctionEntry } from '../../core/contracts/provider.ts';
import { bytesOf } from '../../core/testing/provider-contract.ts';
import { freePort } from '../../plugins/providers/process/port.ts';
import { server } from '../contract/process-bench.ts';
import { gone, send, setup, textOf } from '../support/process-calls.ts';
import { isRunning, ownChildren } from '../support/processes.ts';

async function pidOf(entry: FunctionEntry): Promise<number> {
  const outcome = await send(entry);
  await bytesOf(outcome);
  return Number(outcome.headers['x-pid']);
}

/** Those that answer, of a few calls at once. */
async function pidsOf(entry: FunctionEntry): Promise<Set<number>> {
  return new Set(await Promise.all(Array.from({ length: 12 }, () => pidOf(entry))));
}

describe('a server', () => {
  it('is told its port in words of its environment, and what it writes is logged', async () => {
    const bench = await setup();
    const variables = JSON.parse(await textOf(await send(await bench.deployReady('f.test', server('env'))))) as Record<
      string,
      string
    >;
    const port = variables['PORT'];
    expect(variables).toMatchObject({ http_port: port, upstream_url: `http://127.0.0.1:${port}` });
    await send(await bench.deployReady('g.test', server('talk')));
    await expect
      .poll(() => bench.logs.map(({ text }) => text).sort())
      .toEqual(['stderr: to stderr', 'stdout: to stdout']);
  });
  it('shares its calls with the other replicas, as many as are asked for', async () => {
    const bench = await setup({ perReplica: 4 });
    const entry = await bench.deployReady('f.test', { ...server('echo'), replicas: 2 });
    await expect.poll(async () => (await pidsOf(entry)).size, { timeout: 10_000 }).toBe(2);
    expect(bench.statuses.at(-1)).toMatchObject({ state: 'ready', replicas: 2, availableReplicas: 2, capacity: 8 });
    await bench.provider.scale?.('f.test', 3);
    await expect.poll(async () => (await pidsOf(entry)).size, { timeout: 10_000 }).toBe(3);
    const before = await pidsOf(entry);
    await bench.provider.scale?.('f.test', 1);
    const after = await pidsOf(entry);
    expect(after.size).toBe(1);
    await gone(...[...before].filter((pid) => !after.has(pid)));
    await bench.provider.scale?.('f.test', 0);
    expect(bench.statuses.at(-1)).toMatchObject({ state: 'cold', replicas: 0, capacity: 0 });
    await gone(...after);
  });
  it('finishes its calls when it is scaled away', async () => {
    const bench = await setup();
    const entry = await bench.deployReady('f.test', server('slow'));
    const running = send(entry, { body: Buffer.from('700') });
    await new Promise((resolve) => setTimeout(resolve, 200));
    await bench.provider.scale?.('f.test', 0);
    expect(await textOf(await running)).toBe('done');
  });
  it('that is killed fails its calls, and is replaced while the others go on', async () => {
    const bench = await setup();
    const entry = await bench.deployReady('f.test', { ...server('slow'), replicas: 2 });
    await expect.poll(() => bench.statuses.at(-1)?.availableReplicas, { timeout: 10_000 }).toBe(2);
    const calls = [send(entry, { body: Buffer.from('1500') }), send(entry, { body: Buffer.from('1500') })];
    await new Promise((resolve) => setTimeout(resolve, 200));
    process.kill(ownChildren('server.ts')[0] ?? 0, 'SIGKILL');
    const outcomes = await Promise.all(calls);
    const bad = outcomes.filter(({ failure }) => failure !== undefined);
    expect(bad).toEqual([expect.objectContaining({ status: 502, failure: 'connection' })]);
    await expect
      .poll(() => bench.statuses.slice(-2).map(({ capacity }) => capacity), { timeout: 10_000 })
      .toEqual([100, 200]);
  });
  it('that leaves its connection without an answer fails that call only', async () => {
    const bench = await setup();
    const entry = await bench.deployReady('f.test', server('fail'));
    for (let round = 0; round < 3; round++)
      expect(await send(entry)).toMatchObject({ status: 502, failure: 'connection' });
    expect(bench.statuses.at(-1)).toMatchObject({ state: 'ready', availableReplicas: 1 });
  });
  it('is called when it says that it is ready, not before', async () => {
    const bench = await setup();
    const config = { ...server('echo'), ready: { path: '/_/ready', period: '20ms' } };
    const entry = await bench.deployFunction('f.test', config, { READY: 'later' });
    expect(bench.statuses.at(-1)).toMatchObject({ state: 'scaling', availableReplicas: 0 });
    expect(await send(entry)).toMatchObject({ status: 502, failure: 'connection', retryAfterSeconds: 1 });
    await expect.poll(() => bench.statuses.at(-1)?.state, { timeout: 10_000 }).toBe('ready');
    const outcome = await send(entry);
    expect(outcome.headers['x-ready']).toBe('true');
    await bytesOf(outcome);
  });
  it('that is not well any more is replaced', async () => {
    const bench = await setup();
    const health = { path: '/_/ready', period: '50ms', failures: 2 };
    const entry = await bench.deployReady('f.test', { ...server('echo'), health });
    const pid = await pidOf(entry);
    await bytesOf(await send(entry, { path: '/sicken' }));
    await gone(pid);
    await expect.poll(() => bench.statuses.at(-1)?.availableReplicas, { timeout: 10_000 }).toBe(1);
    expect(await pidOf(entry)).not.toBe(pid);
  });
  it('that does not start is told with its reason, and tried again', async () => {
    const bench = await setup();
    const file = `/tmp/millrace-process-${process.pid}`;
    const command = ['sh', '-c', `if [ -e ${file} ]; then exec node server.ts; else exit 7; fi`];
    const env = { PATH: `${dirname(process.execPath)}:${process.env['PATH']}` };
    const entry = await bench.deployFunction('f.test', { command, mode: 'http' }, env);
    await expect.poll(() => bench.statuses.at(-1)?.state).toBe('failed');
    expect(bench.statuses.at(-1)?.message).toBe('its server did not start: exit status 7');
    expect((await send(entry)).error?.message).toContain('exit status 7');
    writeFileSync(file, '');
    await expect.poll(() => bench.statuses.at(-1)?.state, { timeout: 20_000 }).toBe('ready');
    rmSync(file);
    expect(bench.statuses.at(-1)?.message).toBeUndefined();
  });
  it('that listens nowhere is ended when its time to start is over', async () => {
    const bench = await setup({ start: '500ms' });
    await bench.deployFunction('f.test', { command: 'sleep 600', mode: 'http' });
    await expect.poll(() => bench.statuses.at(-1)?.state, { timeout: 10_000 }).toBe('failed');
    expect(bench.statuses.at(-1)?.message).toContain('it did not become ready within 500 ms');
  });
  it('whose port is taken is told so', async () => {
    const bench = await setup();
    const stranger = createServer().listen(0, '127.0.0.1');
    await once(stranger, 'listening');
    const { port } = stranger.address() as AddressInfo;
    await bench.deployFunction('f.test', { ...server('echo'), upstreamUrl: `http://127.0.0.1:${port}` });
    await expect.poll(() => bench.statuses.at(-1)?.message).toContain('EADDRINUSE');
    await expect(bench.provider.scale?.('f.test', 2)).rejects.toThrow(`only one replica can listen on port ${port}`);
    stranger.close();
    await expect.poll(() => bench.statuses.at(-1)?.state, { timeout: 20_000 }).toBe('ready');
  });
  it('refuses more calls at once than max_inflight of each replica', async () => {
    const bench = await setup();
    const entry = await bench.deployReady('f.test', server('slow'), { max_inflight: '2' });
    const outcomes = await Promise.all([1, 2, 3].map(() => send(entry, { body: Buffer.from('300') })));
    expect(outcomes.map(({ status }) => status)).toEqual([200, 200, 429]);
  });
  it('moves bodies larger than any buffer, in both directions', async () => {
    const bench = await setup();
    const entry = await bench.deployReady('f.test', server('echo'));
    const bytes = Buffer.alloc(16 * 1024 * 1024, 'abcdefg');
    const body = Readable.from([bytes.subarray(0, 5_000_000), bytes.subarray(5_000_000)], { objectMode: false });
    const outcome = await send(entry, { body, headers: { 'content-length': String(bytes.length) } });
    expect(bytes.equals(await bytesOf(outcome))).toBe(true);
  });
});

describe('a server that is deployed anew', () => {
  it('takes over when it is ready: no call fails', async () => {
    const bench = await setup();
    const entry = await bench.deployReady('f.test', server('echo'));
    const old = await pidOf(entry);
    await bench.deployFunction('f.test', server('echo'));
    expect(bench.statuses.at(-1)).toMatchObject({ state: 'ready', availableReplicas: 1 });
    const pids: number[] = [];
    while (pids.at(-1) === undefined || pids.at(-1) === old) {
      const outcome = await send(entry);
      await bytesOf(outcome);
      expect(outcome.status).toBe(200);
      pids.push(Number(outcome.headers['x-pid']));
    }
    expect(pids[0]).toBe(old);
    await gone(old);
  });
  it('leaves the old one where it does not start', async () => {
    const bench = await setup();
    const entry = await bench.deployReady('f.test', server('echo'));
    const old = await pidOf(entry);
    await bench.deployFunction('f.test', { command: 'false', mode: 'http' });
    await expect.poll(() => bench.statuses.at(-1)?.message).toBe('its server did not start: exit status 1');
    expect(bench.statuses.at(-1)).toMatchObject({ state: 'ready', availableReplicas: 1 });
    expect(await pidOf(entry)).toBe(old);
  });
  it('waits for the old one where both have one port', async () => {
    const bench = await setup();
    const port = await freePort('127.0.0.1');
    const config = { ...server('echo'), upstreamUrl: `http://127.0.0.1:${port}` };
    const entry = await bench.deployReady('f.test', config);
    const old = await pidOf(entry);
    await bench.deployReady('f.test', config);
    expect(isRunning(old)).toBe(false);
    expect(await pidOf(entry)).not.toBe(old);
  });
});
