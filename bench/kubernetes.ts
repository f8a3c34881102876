import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { garbageCollector } from '../core/kit/garbage.ts';
import { kubernetesConfig } from '../plugins/providers/kubernetes/config.ts';
import { KubernetesProvider } from '../plugins/providers/kubernetes/provider.ts';
import { recordingHost } from '../test/support/provider-host.ts';

/**
 * What many functions of a cluster cost a gateway: how long its provider takes to know them, what they take of memory,
 * and how long it takes to list them. `node bench/kubernetes.ts [FUNCTIONS]`, 5,000 unless it says otherwise.
 */
const count = Number(process.argv[2] ?? 5000);
const collect = garbageCollector();

function memory(): { rss: number; heap: number } {
  for (let round = 0; round < 3; round++) collect();
  const { rss, heapUsed } = process.memoryUsage();
  return { rss: rss / 2 ** 20, heap: heapUsed / 2 ** 20 };
}

const cluster = spawn(process.execPath, [join(import.meta.dirname, 'kubernetes-cluster.ts'), String(count)], {
  stdio: ['ignore', 'pipe', 'inherit'],
});
const [kubeconfig] = (await once(createInterface(cluster.stdout), 'line')) as [string];

// The library first: it costs the same whatever there is in the cluster.
await import('@kubernetes/client-node');
const before = memory();
const provider = new KubernetesProvider(kubernetesConfig.parse({ kubeconfig, startTimeout: '5m' }), recordingHost('/'));
const from = performance.now();
await provider.start();
const startMs = performance.now() - from;
const found = provider.deployments.functions().size;
const after = memory();
const lists = Array.from({ length: 21 }, () => {
  const began = performance.now();
  const all = [...provider.deployments.functions().values()].map(({ deployment }) => deployment.service);
  if (all.length !== count) throw new Error(`${all.length} of ${count} functions are known`);
  return performance.now() - began;
}).toSorted((one, other) => one - other);

console.log(`functions ${found}`);
console.log(`start ${startMs.toFixed(0)} ms`);
console.log(`list ${lists[10]?.toFixed(2)} ms (median of 21; most ${lists.at(-1)?.toFixed(2)} ms)`);
console.log(`heap +${(after.heap - before.heap).toFixed(0)} MiB, rss +${(after.rss - before.rss).toFixed(0)} MiB`);
await provider.stop(1000);
cluster.kill();
