import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { builtCluster, RealCluster } from './real-cluster.ts';

// `npm run kube [-- build]`: a real Kubernetes API server for playing by hand, until Ctrl-C.
const script = join(import.meta.dirname, 'real/k8s.sh');
if (!builtCluster()) {
  say('Building the parts of Kubernetes, once: about ten minutes on two cores, with Go 1.26.');
  const { status } = spawnSync('bash', [script, 'build'], { stdio: ['ignore', 'inherit', 'inherit'] });
  if (status !== 0) throw new Error(`k8s.sh build ended with ${status}`);
}
const programs = builtCluster();
if (!programs) throw new Error('k8s.sh build left no program');
if (process.argv[2] === 'build') say('It is built: `npm run kube` starts it.');
else await play();

async function play(): Promise<void> {
  const interrupted = Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
  // A signal's listener does not keep a process alive.
  const alive = setInterval(() => undefined, 60_000);
  await using cluster = await RealCluster.start(programs as NonNullable<typeof programs>, 16_443);
  say(`export KUBECONFIG=${cluster.kubeconfig} MILLRACE_TEST_KUBECONFIG=${cluster.kubeconfig}`);
  say('Pods become ready and run nothing. Ctrl-C ends it, and removes what it holds.');
  await interrupted;
  clearInterval(alive);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
