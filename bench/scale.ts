import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { connect } from 'nats';
import { Pool } from 'undici';
import { systemClock } from '../core/contracts/clock.ts';
import type { FunctionPolicy } from '../core/contracts/policy.ts';
import { Catalog } from '../core/functions/catalog.ts';
import { httpProviderConfig } from '../plugins/providers/http/config.ts';
import { HttpProvider } from '../plugins/providers/http/provider.ts';
import { kubernetesConfig } from '../plugins/providers/kubernetes/config.ts';
import { KubernetesProvider } from '../plugins/providers/kubernetes/provider.ts';
import { atRest } from '../test/chaos/ledgers.ts';
import { startBroker } from '../test/support/brokers.ts';
import { FakeCluster } from '../test/support/kube/fake-cluster.ts';
import { recordingHost } from '../test/support/provider-host.ts';
import { startSubject, type Subject } from './measure.ts';
import { circumstances } from './page.ts';
import { processes } from './processes.ts';

// `node bench/scale.ts [processes|jetstream|memory|kubernetes …]`: the unit costs that docs/scale.md works with. Of CPU, bytes
// and counts, not of the clock; what else runs on the machine makes CPU figures larger all the same.
const home = mkdtempSync(join(tmpdir(), 'millrace-scale-'));
const body = Buffer.alloc(1024, 'e');

/** CPU of a process and its threads so far, ms. */
function cpuOf(pid: number): number {
  const [, rest = ''] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ');
  const fields = rest.split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

async function gatewayOf(name: string, yaml: string): Promise<Subject> {
  const file = join(home, `${name}.yaml`);
  writeFileSync(file, `${yaml}observability: { logs: { format: json, level: info } }\n`);
  return startSubject(['core/main.ts', 'serve', '--config', file]);
}

/** What an invocation costs the gateway that takes and runs it, its follower, and the server, and what is kept of it. */
async function jetstream(): Promise<void> {
  await using broker = await startBroker('nats');
  const yaml = (functions: string): string => `gateway: { listen: { port: 0 }, management: { port: 0 } }
connections: { broker: { kind: nats, servers: "${broker.url}" } }
queues: { default: { kind: jetstream, connection: broker } }
stores: { default: { kind: memory } }
providers: { worker: { kind: worker } }
functions: ${functions}
`;
  const ok = `{ ok: { module: ${join(import.meta.dirname, '../config/functions/echo.ts')}, isolation: none } }`;
  const [first, second] = await Promise.all([gatewayOf('jetstream', yaml(ok)), gatewayOf('follower', yaml('{}'))]);
  const pids = { gateway: first.child.pid ?? 0, follower: second.child.pid ?? 0, server: broker.pid };
  const send = async (count: number): Promise<void> => {
    const pool = new Pool(first.url, { connections: 64 });
    let left = count;
    const one = async (): Promise<void> => {
      while (left-- > 0) {
        const answer = await pool.request({ method: 'POST', path: '/async-function/ok', body: body.subarray(0, 256) });
        await answer.body.dump();
        if (answer.statusCode !== 202) throw new Error(`answered with ${answer.statusCode}`);
      }
    };
    await Promise.all(Array.from({ length: 64 }, one));
    await pool.close();
    await atRest(first.url);
  };
  const connection = await connect({ servers: broker.url });
  const streams = async () => {
    const manager = await connection.jetstreamManager();
    const infos = await manager.streams.list().next();
    return infos
      .map(({ state }) => state)
      .reduce((all, one) => ({ bytes: all.bytes + one.bytes, last: all.last + one.last_seq }), { bytes: 0, last: 0 });
  };
  await send(2000);
  const count = 8000;
  // What they do all the time is not the invocations' doing.
  const idle = await spentWhile(() => sleep(5000));
  const before = await streams();
  const busy = await spentWhile(() => send(count));
  const after = await streams();
  const names = Object.keys(pids);
  const perInvocation = busy.cpu.map((ms, at) => ms - ((idle.cpu[at] ?? 0) * busy.ms) / idle.ms);
  const spent = perInvocation.map((ms, at) => `${names[at]} ${((ms * 1000) / count).toFixed(0)}`);
  const entries = (after.last - before.last) / count;
  console.log(
    `jetstream, 256 bytes, and kept as result: µs of CPU an invocation, accepted, run and settled: ${spent.join(', ')}; ` +
      `${entries.toFixed(2)} entries appended, ${((after.bytes - before.bytes) / count).toFixed(0)} bytes kept`,
  );
  await connection.close();
  for (const subject of [first, second]) await subject.stop();

  async function spentWhile(work: () => Promise<unknown>): Promise<{ readonly cpu: number[]; readonly ms: number }> {
    const cpu = Object.values(pids).map(cpuOf);
    const from = performance.now();
    await work();
    return { cpu: Object.values(pids).map((pid, at) => cpuOf(pid) - (cpu[at] ?? 0)), ms: performance.now() - from };
  }
}

/** What functions cost a gateway of memory: in the catalog, and at the provider \`http\`. */
async function memory(): Promise<void> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const used = (): number => {
    for (let round = 0; round < 3; round++) collect();
    return process.memoryUsage().rss;
  };
  const count = 100_000;
  const catalog = new Catalog('openfaas-fn', systemClock);
  const host = { ...recordingHost('/'), report: catalog.report.bind(catalog) };
  const provider = new HttpProvider(httpProviderConfig.parse({}), host);
  const retry = {
    attempts: 5,
    backoff: { kind: 'exponential', initialMs: 1000, factor: 2, maxMs: 300_000, jitter: 'full' },
  } as const;
  const policy = (): FunctionPolicy => ({
    auth: undefined,
    timeoutMs: 30_000,
    concurrency: 32,
    waiting: 100,
    queue: 'default',
    retry: { ...retry, retryOn: [], failOn: [], retryAfter: { honour: true, maxMs: 600_000 } },
    priority: 5,
    maxAgeMs: undefined,
    result: { store: true, ttlMs: 86_400_000 },
    onSuccess: [],
    onFailure: [],
    scale: undefined,
  });
  const before = used();
  const from = performance.now();
  for (let index = 0; index < count; index++) {
    const name = `function-${index}.openfaas-fn`;
    const config = { url: `http://10.0.${index % 250}.${index % 200}:8080`, headers: {} };
    const spec = { name, provider: 'http', config, env: {}, labels: { team: `team-${index % 50}` }, annotations: {} };
    catalog.add(spec, policy(), provider);
    await provider.deploy(spec);
  }
  const ms = performance.now() - from;
  const rss = (used() - before) / 2 ** 20;
  const ready = catalog.list().filter(({ status }) => status.state === 'ready').length;
  console.log(
    `${count} functions of the provider http, ${ready} of them ready: ${rss.toFixed(0)} MiB of RSS, ` +
      `${((rss * 1000) / count).toFixed(1)} MiB for 1,000; ${ms.toFixed(0)} ms to load`,
  );
  await provider.stop(0);
}

/** How often an API server is asked for a function that is deployed, changed, scaled and removed. */
async function kubernetes(): Promise<void> {
  await using fake = await FakeCluster.start({ namespaces: ['openfaas-fn'] });
  const provider = new KubernetesProvider(kubernetesConfig.parse({ kubeconfig: fake.kubeconfig }), recordingHost('/'));
  const counted = async (what: string, work: () => Promise<unknown>): Promise<void> => {
    const before = fake.requests.length;
    await work();
    const asked = fake.requests.slice(before).filter((request) => !request.includes('watch=true'));
    console.log(`kubernetes, ${what}: ${asked.length} requests: ${asked.map((line) => line.split('?')[0]).join('; ')}`);
  };
  await counted('start, one namespace', () => provider.start());
  const base = {
    service: 'one',
    namespace: 'openfaas-fn',
    image: 'registry.example/one:1',
    envVars: {},
    constraints: [],
    secrets: [],
    labels: {},
    annotations: {},
  };
  await counted('deploy', () => provider.deployments.deploy(base, 'create'));
  await counted('deploy another image', () =>
    provider.deployments.deploy({ ...base, image: 'registry.example/one:2' }, 'update'),
  );
  await counted('deploy the same again', () =>
    provider.deployments.deploy({ ...base, image: 'registry.example/one:2' }, 'update'),
  );
  await counted('scale', () => provider.scale('one.openfaas-fn', 3));
  await counted('remove', () => provider.deployments.remove('one.openfaas-fn'));
  await provider.stop(1000);
}

const all = { processes, jetstream, memory, kubernetes } as const;
const wanted = process.argv.slice(2);
execFileSync('taskset', ['-cp', '1', String(process.pid)], { stdio: 'ignore' });
for (const [name, measure] of Object.entries(all))
  if (wanted.length === 0 || wanted.includes(name)) await measure(home);
console.log(circumstances());
process.exit(0);
