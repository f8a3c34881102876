import { randomBytes } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll } from 'vitest';
import { type Answer, ApiClient } from './api-client.ts';
import type { KubeObject } from './fake-objects.ts';

/** The API server that is held to the rules, and whether its Deployments get pods. */
export interface ApiUnderTest {
  readonly kubeconfig: string;
  readonly hasPods: boolean;
}

type Labels = Readonly<Record<string, string>>;

/** What the rules of one suite share: a namespace of its own, and where things are in it. */
export interface RulesWorld {
  readonly api: ApiClient;
  readonly hasPods: boolean;
  readonly namespace: string;
  readonly core: string;
  readonly deployments: string;
  readonly slices: string;
}

/** Makes the namespace before the tests of the suite, and removes it after them. */
export function rulesWorld(open: () => Promise<ApiUnderTest>): () => RulesWorld {
  const namespace = `rules-${randomBytes(4).toString('hex')}`;
  let world: RulesWorld | undefined;
  beforeAll(async () => {
    const { kubeconfig, hasPods } = await open();
    const api = new ApiClient(kubeconfig);
    world = {
      api,
      hasPods,
      namespace,
      core: `/api/v1/namespaces/${namespace}`,
      deployments: `/apis/apps/v1/namespaces/${namespace}/deployments`,
      slices: `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`,
    };
    await api.ask('POST', '/api/v1/namespaces', { metadata: { name: namespace } });
  });
  afterAll(async () => {
    await world?.api.ask('DELETE', `/api/v1/namespaces/${namespace}`);
    await world?.api[Symbol.asyncDispose]();
  });
  return () => {
    if (!world) throw new Error('the world of the rules is made before the tests, not before the suite');
    return world;
  };
}

interface DeploymentParts {
  readonly spec?: object;
  readonly container?: object;
  readonly labels?: Labels;
  readonly annotations?: Labels;
}

/** A Deployment as a client sends it, of one container that listens on 8080. */
export function deploymentOf(name: string, more: DeploymentParts = {}): object {
  const { annotations } = more;
  const labels = { app: name, ...more.labels };
  const container = { name, image: 'example.org/none:1', ports: [{ containerPort: 8080 }], ...more.container };
  return {
    metadata: { name, labels, ...(annotations && { annotations }) },
    spec: {
      selector: { matchLabels: { app: name } },
      template: { metadata: { labels }, spec: { containers: [container] } },
      ...more.spec,
    },
  };
}

/** What a refusal tells. */
export function told({ status, body }: Answer): { status: number; reason: unknown; message: unknown } {
  return { status, reason: body['reason'], message: body['message'] };
}

export function objectOf({ body }: Answer): KubeObject {
  return body as unknown as KubeObject;
}

/** The items of a list. */
export function itemsOf({ body }: Answer): KubeObject[] {
  return body['items'] as unknown as KubeObject[];
}

/** Resolves once it holds. */
export async function until(what: () => Promise<boolean>): Promise<void> {
  const giveUpAt = performance.now() + 20_000;
  while (!(await what())) {
    if (performance.now() > giveUpAt) throw new Error(`not within 20 s: ${what.toString()}`);
    await wait(20);
  }
}
