import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { request } from 'undici';
import { expect, it } from 'vitest';
import { type GatewayProcess, startGateway, stopGateway } from '../support/gateway-process.ts';
import { gone } from '../support/process-calls.ts';
import { childrenOf, isRunning } from '../support/processes.ts';

const yaml = `
apiVersion: millrace/v1
gateway: { listen: { port: 0 }, management: { port: 0 }, shutdown: { drain: 1s } }
queues: { default: { kind: memory, allowVolatile: true } }
stores: { default: { kind: memory } }
connectors: { http: { kind: http } }
providers: { process: { kind: process, grace: 500ms } }
functions:
  family: { command: [sh, -c, "trap '' TERM; sleep 600 & echo $$ $!; exec sleep 600"], mode: streaming, invoke: { timeout: 10m } }
  server: { command: [sh, -c, "trap '' TERM; sleep 600 & echo $$ $!; exec sleep 600"], mode: http }
  upper: { command: tr a-z A-Z }
  limited: { command: sleep 0.5, env: { max_inflight: "1" } }
`;

function configFile(): string {
  const file = join(mkdtempSync(join(tmpdir(), 'millrace-process-')), 'millrace.yaml');
  writeFileSync(file, yaml);
  return file;
}

/** A gateway with a call open, and the processes of its functions: commands, what they began, and the reaper. */
async function busyGateway(): Promise<GatewayProcess & { readonly pids: readonly number[]; readonly reaper: number }> {
  const gateway = await startGateway(configFile());
  const { body } = await request(`${gateway.url}/function/family`, { method: 'POST' });
  body.on('error', () => undefined); // Its gateway is killed.
  const [first] = (await once(body, 'data')) as [Buffer];
  const logged = (): string => gateway.log.join('\n');
  await expect.poll(logged, { timeout: 10_000 }).toMatch(/stdout: \d+ \d+/);
  const pids = [first.toString(), /stdout: (\d+ \d+)/.exec(logged())?.[1] ?? ''].flatMap((text) =>
    (text.match(/\d+/g) ?? []).map(Number),
  );
  expect(pids.filter(isRunning)).toHaveLength(4);
  const [reaper = 0] = childrenOf(gateway.child.pid ?? 0).flatMap(({ pid }) => (pids.includes(pid) ? [] : pid));
  return { ...gateway, pids, reaper };
}

it('a gateway that is killed leaves no process behind, which is the work of the reaper: while it is stopped they live', async () => {
  const { child, ended, pids, reaper } = await busyGateway();
  process.kill(reaper, 'SIGSTOP');
  child.kill('SIGKILL');
  await ended;
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(pids.filter(isRunning)).toHaveLength(4);
  process.kill(reaper, 'SIGCONT');
  await gone(...pids, reaper);
});

it('a reaper that is killed is replaced, and the new one knows what runs', async () => {
  const { child, ended, pids, reaper } = await busyGateway();
  process.kill(reaper, 'SIGKILL');
  const others = (): readonly number[] =>
    childrenOf(child.pid ?? 0).flatMap(({ pid }) => (pids.includes(pid) ? [] : pid));
  await expect.poll(() => others().filter((pid) => pid !== reaper)).toHaveLength(1);
  child.kill('SIGKILL');
  await ended;
  await gone(...pids, ...others());
});

it('a gateway that is stopped ends what runs, and answers until then as the watchdog does', async () => {
  const gateway = await busyGateway();
  const upper = await request(`${gateway.url}/function/upper/path`, { method: 'POST', body: 'hello' });
  expect([upper.statusCode, await upper.body.text()]).toEqual([200, 'HELLO']);
  const limited = await Promise.all([1, 2].map(() => request(`${gateway.url}/function/limited`)));
  const refused = limited.find(({ statusCode }) => statusCode === 429);
  expect(refused?.headers['x-openfaas-internal']).toBe('faas-middleware');
  expect(await refused?.body.text()).toBe('Concurrent request limit exceeded. Max concurrent requests: 1\n');
  expect(await stopGateway(gateway)).toBe(0);
  await gone(...gateway.pids, gateway.reaper);
});
