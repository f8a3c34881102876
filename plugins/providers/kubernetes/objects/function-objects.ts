import { createHash } from 'node:crypto';
import type { Deployment } from '../../../../core/contracts/deployment.ts';
import { type KubeDeployment, type KubeService, kinds, type New } from '../kinds.ts';
import { podTemplateOf, type PodSettings } from './pod.ts';
import { functionLabel, functionPort, leastReplicasLabel, scrapeAnnotation, wantedAnnotation } from './words.ts';

/** What a function is in the cluster. */
export interface FunctionObjects {
  readonly deployment: New<KubeDeployment>;
  readonly service: New<KubeService>;
}

/**
 * The Deployment and the Service of a function, as faas-netes makes them.
 *
 * @param labels of the objects themselves: who keeps them.
 * @throws MillraceError `request.invalid`
 */
export function functionObjects(
  asked: Deployment,
  settings: PodSettings,
  labels: Readonly<Record<string, string>> = {},
): FunctionObjects {
  const { service: name, namespace } = asked;
  const own = { ...labels, [functionLabel]: name };
  const metadata = { name, namespace, labels: own };
  const deployment = {
    apiVersion: kinds.deployments.apiVersion,
    kind: kinds.deployments.kind,
    metadata: { ...metadata, annotations: { [scrapeAnnotation]: 'false', ...asked.annotations } },
    spec: {
      replicas: leastReplicas(asked.labels),
      revisionHistoryLimit: 10,
      selector: { matchLabels: { [functionLabel]: name } },
      // The old pods stay until the new ones are ready: a deployment is no outage.
      strategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
      template: podTemplateOf(asked, settings),
    },
  };
  const service = {
    apiVersion: kinds.services.apiVersion,
    kind: kinds.services.kind,
    metadata: { ...metadata, annotations: { [scrapeAnnotation]: 'false' } },
    spec: {
      type: 'ClusterIP',
      selector: { [functionLabel]: name },
      ports: [{ name: 'http', protocol: 'TCP', port: functionPort, targetPort: functionPort }],
    },
  };
  return { deployment: marked(deployment), service: marked(service) };
}

/** The label's word, or one: what cannot be read as a number is core's to refuse. */
function leastReplicas(labels: Readonly<Record<string, string>>): number {
  const text = labels[leastReplicasLabel] ?? '';
  return /^\d{1,4}$/.test(text) ? Number(text) : 1;
}

function marked<T extends New<KubeDeployment> | New<KubeService>>(object: T): T {
  const wanted = createHash('sha256').update(JSON.stringify(object)).digest('base64url').slice(0, 22);
  const { metadata } = object;
  return { ...object, metadata: { ...metadata, annotations: { ...metadata.annotations, [wantedAnnotation]: wanted } } };
}
