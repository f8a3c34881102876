import { Agent, request } from 'undici';
import { functionObjects } from '../plugins/providers/kubernetes/objects/function-objects.ts';
import { FakeCluster } from '../test/support/kube/fake-cluster.ts';

/** A fake cluster with so many functions of one replica each, in a process of its own; writes its kubeconfig when it is filled. */
const count = Number(process.argv[2]);
const namespace = 'openfaas-fn';
const fake = await FakeCluster.start({ namespaces: [namespace] });
const dispatcher = new Agent({ connections: 16 });
const settings = { pullSecrets: new Set<string>(), profiles: [], imagePullPolicy: 'Always', nonRoot: false } as const;

async function post(path: string, object: object): Promise<void> {
  const headers = { authorization: `Bearer ${fake.adminToken}`, 'content-type': 'application/json' };
  const answer = await request(`${fake.url}${path}`, {
    method: 'POST',
    headers,
    body: JSON.stringify(object),
    dispatcher,
  });
  const text = await answer.body.text();
  if (answer.statusCode !== 201) throw new Error(text);
}

async function fill(from: number): Promise<void> {
  for (let index = from; index < count; index += 16) {
    const asked = {
      service: `function-${index}`,
      namespace,
      image: `registry.example/team-${index % 50}/function-${index}:1.2.3`,
      envVars: { write_debug: 'true', exec_timeout: '30s', REGION: 'eu-west-1' },
      constraints: [],
      secrets: [],
      labels: { 'com.openfaas.scale.max': '5', team: `team-${index % 50}` },
      annotations: { topic: `topic-${index}` },
      limits: { memory: '128Mi' },
      requests: { cpu: '20m' },
    };
    const { deployment, service } = functionObjects(asked, settings);
    await post(`/apis/apps/v1/namespaces/${namespace}/deployments`, deployment);
    await post(`/api/v1/namespaces/${namespace}/services`, service);
  }
}

await Promise.all(Array.from({ length: 16 }, (_each, from) => fill(from)));
while (
  fake.slices(namespace).filter(({ endpoints }) => Array.isArray(endpoints) && endpoints.length > 0).length < count
) {
  await new Promise((resolve) => setTimeout(resolve, 100));
}
process.stdout.write(`${fake.kubeconfig}\n`);
