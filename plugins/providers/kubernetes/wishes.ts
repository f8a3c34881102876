import type { Deployment } from '../../../core/contracts/deployment.ts';
import { MillraceError } from '../../../core/contracts/errors.ts';
import type { Cluster } from './cluster.ts';
import type { KubernetesConfig } from './config.ts';
import { type FunctionObjects, functionObjects } from './objects/function-objects.ts';
import { profileAnnotation } from './objects/words.ts';
import type { KubeProfile } from './kinds.ts';

/**
 * The objects that a function is to be, with what it names in the cluster: secrets and profiles.
 *
 * @param labels of the objects: who keeps them.
 * @throws MillraceError `request.invalid` when it names what is not there; `provider.unavailable` when that is not known yet.
 */
export function objectsFor(
  asked: Deployment,
  cluster: Cluster,
  { imagePullPolicy, nonRoot, profilesNamespace }: KubernetesConfig,
  labels?: Readonly<Record<string, string>>,
): FunctionObjects {
  const { service, namespace, secrets } = asked;
  if (!cluster.namespaceNames.has(namespace)) {
    const known = [...cluster.namespaceNames].join(', ') || 'none yet';
    throw invalid(`function ${service}: ${namespace} is no namespace of functions (${known})`);
  }
  const missing = secrets.filter((name) => !cluster.secrets.get(namespace, name));
  const profiles = profileNames(asked).map((name) => [name, cluster.profiles.get(profilesNamespace, name)] as const);
  const noProfile = profiles.filter(([, profile]) => !profile).map(([name]) => name);
  if (missing.length > 0) {
    needSynced(cluster, cluster.secrets.isSynced);
    throw invalid(`function ${service}: namespace ${namespace} has no secret ${missing.join(', ')}`);
  }
  if (noProfile.length > 0) {
    needSynced(cluster, cluster.profiles.isSynced);
    throw invalid(`function ${service}: namespace ${profilesNamespace} has no profile ${noProfile.join(', ')}`);
  }
  const pullSecrets = new Set(secrets.filter((name) => cluster.pullSecrets.get(namespace, name)));
  const found = profiles.map(([, profile]) => profile as KubeProfile);
  return functionObjects(asked, { pullSecrets, profiles: found, imagePullPolicy, nonRoot }, labels);
}

function profileNames({ annotations }: Deployment): string[] {
  const text = annotations[profileAnnotation] ?? '';
  return text.split(',').flatMap((name) => (name.trim() === '' ? [] : [name.trim()]));
}

function needSynced(cluster: Cluster, isSynced: boolean): void {
  if (isSynced) return;
  const reason = cluster.troubles().find((trouble) => trouble.reason !== undefined)?.reason ?? 'nothing was listed';
  throw new MillraceError('provider.unavailable', `what is in the cluster is not known yet: ${reason}`);
}

function invalid(message: string): MillraceError {
  return new MillraceError('request.invalid', message);
}
