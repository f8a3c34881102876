import { providerContract } from '../../core/testing/index.ts';
import { describeWithKube } from '../support/kube/with-kube.ts';
import { kubernetesRolesBench, realRolesBench } from './kubernetes-bench.ts';

providerContract('kubernetes', kubernetesRolesBench);

await describeWithKube(
  'on a real cluster',
  (kubeconfig) => providerContract('kubernetes', () => realRolesBench(kubeconfig)),
  { pods: true },
);
