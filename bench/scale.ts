import { execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../core/contracts/clock.ts';
import type { FunctionPolicy } from '../core/contracts/policy.ts';
import { Catalog } from '../core/functions/catalog.ts';
import { garbageCollector } from '../core/kit/garbage.ts';
import { httpProviderConfig } from '../plugins/providers/http/config.ts';
import { HttpProvider } from '../plugins/providers/http/provider.ts';
import { kubernetesConfig } from '../plugins/providers/kubernetes/config.ts';
import { KubernetesProvider } from '../plugins/providers/kubernetes/provider.ts';
import { FakeCluster } from '../test/support/kube/fake-cluster.ts';
import { recordingHost } from '../test/support/provider-host.ts';
import { jetstream, jetstreamThrice, kafka } from './ledger.ts';
import { circumstances } from './page.ts';
import { processes } from './processes.ts';

// `node bench/scale.ts [processes|jetstream|jetstreamThrice|kafka|memory|kubernetes …]`: the unit costs that docs/scale.md works with. Of CPU, bytes
// and counts, not of the clock; what else runs on the machine makes CPU figures larger all the same.
const home = mkdtempSync(join(tmpdir(), 'millrace-scale-'));

/** What functions cost a gateway of memory: in the catalog, and at the provider \`http\`. */
async function memory(): Promise<void> {
  const collect = garbageCollector();
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

const all = { processes, jetstream, jetstreamThrice, kafka, memory, kubernetes } as const;
const wanted = process.argv.slice(2);
execFileSync('taskset', ['-cp', '1', String(process.pid)], { stdio: 'ignore' });
for (const [name, measure] of Object.entries(all))
  if (wanted.length === 0 || wanted.includes(name)) await measure(home);
console.log(circumstances());
process.exit(0);
