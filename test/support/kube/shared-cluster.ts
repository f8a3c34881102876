import { builtCluster, envtestCluster, RealCluster } from './real-cluster.ts';
import type { SharedCluster } from './with-kube.ts';

/**
 * The real cluster of a test run: one that runs already, or one that is started here and ends by `dispose`. That takes
 * five seconds and 760 MiB, so a build alone is not taken for a wish to use it.
 */
export async function shareCluster(): Promise<{
  readonly shared: SharedCluster;
  readonly dispose?: () => Promise<void>;
}> {
  const {
    MILLRACE_TEST_KUBECONFIG: kubeconfig = '',
    KUBEBUILDER_ASSETS: assets = '',
    MILLRACE_KUBE: wanted,
  } = process.env;
  if (kubeconfig !== '') return { shared: { kubeconfig, whole: true } };
  const programs = assets === '' ? (wanted === '1' ? builtCluster() : undefined) : envtestCluster(assets);
  if (!programs) {
    const how =
      wanted === '1' ? '`npm run kube -- build` builds one, once' : '`npm run kube` once, then MILLRACE_KUBE=1';
    return { shared: { missing: `no Kubernetes API server: ${how}, or MILLRACE_TEST_KUBECONFIG=FILE` } };
  }
  const cluster = await RealCluster.start(programs);
  return {
    shared: { kubeconfig: cluster.kubeconfig, whole: programs.whole },
    dispose: () => cluster[Symbol.asyncDispose](),
  };
}
