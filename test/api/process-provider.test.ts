import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { request } from 'undici';
import { afterEach, expect, it } from 'vitest';
import { processFolder } from '../contract/process-bench.ts';
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
  cold: { command: cat, replicas: 0 }
  cold-server: { command: [NODE, server.ts], cwd: SERVERS, mode: http, replicas: 0, env: { ROLE: echo } }
  limited: { command: [sh, -c, "echo begun; exec sleep 600"], mode: streaming, maxInflight: 1 }
`;

/** A gateway of its own takes its time to start on a busy machine. */
const patienceMs = 120_000;

function configFile(): string {
  const file = join(mkdtempSync(join(tmpdir(), 'millrace-process-')), 'millrace.yaml');
  writeFileSync(file, yaml.replace('SERVERS', processFolder).replace('NODE', process.execPath));
  return file;
}

const started: GatewayProcess[] = [];

/** Those of failed tests would go on for ever. */
afterEach(() => {
  for (const { child } of started.splice(0)) child.kill('SIGKILL');
});

/** A gateway with a call open, and the processes of its functions: commands, what they began, and the reaper. */
async function busyGateway(): Promise<GatewayProcess & { readonly pids: readonly number[]; readonly reaper: number }> {
  const gateway = await startGateway(configFile());
  started.push(gateway);
  const { body } = await request(`${gateway.url}/function/family`, { method: 'POST' });
  body.on('error', () => undefined); // Its gateway is killed.
  const [first] = (await once(body, 'data')) as [Buffer];
  const logged = (): string => gateway.log.join('\n');
  await expect.poll(logged, { timeout: 30_000 }).toMatch(/stdout: \d+ \d+/);
  const pids = [first.toString(), /stdout: (\d+ \d+)/.exec(logged())?.[1] ?? ''].flatMap((text) =>
    (text.match(/\d+/g) ?? []).map(Number),
  );
  expect(pids.filter(isRunning)).toHaveLength(4);
  const [reaper = 0] = childrenOf(gateway.child.pid ?? 0).flatMap(({ pid }) => (pids.includes(pid) ? [] : pid));
  return { ...gateway, pids, reaper };
}

it(
  'a gateway that is killed leaves no process behind, which is the work of the reaper: while it is stopped they live',
  async () => {
    const { child, ended, pids, reaper } = await busyGateway();
    process.kill(reaper, 'SIGSTOP');
    child.kill('SIGKILL');
    await ended;
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(pids.filter(isRunning)).toHaveLength(4);
    process.kill(reaper, 'SIGCONT');
    await gone(...pids, reaper);
  },
  patienceMs,
);

it(
  'a reaper that is killed is replaced, and the new one knows what runs',
  async () => {
    const { child, ended, pids, reaper } = await busyGateway();
    process.kill(reaper, 'SIGKILL');
    const others = (): readonly number[] =>
      childrenOf(child.pid ?? 0).flatMap(({ pid }) => (pids.includes(pid) ? [] : pid));
    await expect.poll(() => others().filter((pid) => pid !== reaper), { timeout: 30_000 }).toHaveLength(1);
    child.kill('SIGKILL');
    await ended;
    await gone(...pids, ...others());
  },
  patienceMs,
);

it(
  'a gateway that is stopped ends what runs, and answers until then as the watchdog does',
  async () => {
    const gateway = await busyGateway();
    const upper = await request(`${gateway.url}/function/upper/path`, { method: 'POST', body: 'hello' });
    expect([upper.statusCode, await upper.body.text()]).toEqual([200, 'HELLO']);
    for (const name of ['cold', 'cold-server']) {
      const answers = await Promise.all(
        [1, 2, 3].map(() => request(`${gateway.url}/function/${name}`, { method: 'POST', body: 'hello' })),
      );
      for (const { statusCode, body } of answers) expect([statusCode, await body.text()]).toEqual([200, 'hello']);
    }
    const begun = await request(`${gateway.url}/function/limited`);
    begun.body.on('error', () => undefined); // It is broken off when the gateway stops.
    await once(begun.body, 'data');
    const refused = await request(`${gateway.url}/function/limited`);
    expect([refused.statusCode, refused.headers['x-openfaas-internal']]).toEqual([429, 'faas-middleware']);
    expect(await refused.body.text()).toBe('Concurrent request limit exceeded. Max concurrent requests: 1\n');
    expect(await stopGateway(gateway)).toBe(0);
    await gone(...gateway.pids, gateway.reaper);
  },
  patienceMs,
);
