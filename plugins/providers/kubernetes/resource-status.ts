import type { KubeDeployment, KubeFunction } from './kinds.ts';
import { troubleOf } from './status.ts';

/** As `metav1.Condition` of Kubernetes. */
export interface Condition {
  readonly type: string;
  readonly status: 'True' | 'False';
  readonly observedGeneration: number;
  readonly lastTransitionTime: string;
  readonly reason: string;
  readonly message: string;
}

/** What is written back to a `Function`. */
export interface ResourceStatus {
  readonly observedGeneration: number;
  readonly replicas: number;
  readonly availableReplicas: number;
  readonly conditions: readonly Condition[];
}

type Told = Pick<Condition, 'status' | 'reason' | 'message'>;

/**
 * What a `Function` is told: by the cluster alone, and not by what one gateway sees, so that all of them say the same.
 *
 * @param problem why it could not be made as it says.
 * @param now RFC 3339.
 */
export function resourceStatusOf(
  { metadata, status }: KubeFunction,
  deployment: KubeDeployment | undefined,
  problem: string | undefined,
  now: string,
): ResourceStatus {
  const observedGeneration = metadata.generation ?? 0;
  const before = (status?.['conditions'] ?? []) as readonly Condition[];
  const condition = (type: string, told: Told): Condition => {
    const known = before.find((each) => each.type === type);
    const lastTransitionTime = known?.status === told.status ? known.lastTransitionTime : now;
    return { type, ...told, observedGeneration, lastTransitionTime };
  };
  const own = [condition('Healthy', healthOf(deployment, problem)), condition('Ready', readinessOf(deployment))];
  const others = before.filter(({ type }) => own.every((each) => each.type !== type));
  return {
    observedGeneration,
    replicas: deployment?.spec?.replicas ?? 0,
    availableReplicas: deployment?.status?.availableReplicas ?? 0,
    conditions: [...others, ...own],
  };
}

/** It is in the cluster as it says, and nothing keeps its replicas from coming up. */
function healthOf(deployment: KubeDeployment | undefined, problem: string | undefined): Told {
  if (problem !== undefined) return { status: 'False', reason: 'Rejected', message: problem };
  const trouble = deployment && troubleOf(deployment);
  if (trouble) return { status: 'False', ...trouble };
  return { status: 'True', reason: 'Deployed', message: 'it is deployed as it says' };
}

/** Calls are answered, if need be by replicas that the first of them starts. */
function readinessOf(deployment: KubeDeployment | undefined): Told {
  if (!deployment) return { status: 'False', reason: 'NotDeployed', message: 'it is not deployed' };
  if (deployment.spec?.replicas === 0) {
    return { status: 'True', reason: 'ScaledToZero', message: 'the first call starts a replica' };
  }
  const isAvailable = (deployment.status?.availableReplicas ?? 0) > 0;
  if (isAvailable) return { status: 'True', reason: 'Available', message: 'replicas take calls' };
  return { status: 'False', reason: 'Unavailable', message: 'no replica takes calls' };
}
