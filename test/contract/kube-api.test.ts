import { afterAll } from 'vitest';
import { apiRules } from '../support/kube/api-rules.ts';
import { FakeCluster } from '../support/kube/fake-cluster.ts';
import { describeWithKube } from '../support/kube/with-kube.ts';

let fake: FakeCluster | undefined;
afterAll(() => fake?.[Symbol.asyncDispose]());

apiRules('the fake API server', async () => {
  fake = await FakeCluster.start();
  return { kubeconfig: fake.kubeconfig, hasPods: true };
});

await describeWithKube('a real API server', (kubeconfig, hasPods) => {
  apiRules('keeps the same rules', async () => ({ kubeconfig, hasPods }));
});
