import type { FunctionStatus } from '../../../core/contracts/provider.ts';
import type { KubeDeployment } from './kinds.ts';

/** What is known of a function besides its Deployment. */
export interface FunctionView {
  /** How many replicas are wanted; what was just asked for goes before what the Deployment says. */
  readonly wanted: number;
  /** Pods that take calls, as the cluster has it. */
  readonly ready: number;
  /** Those of them that the gateway can connect to. */
  readonly available: number;
  /** Calls that one pod may have at once. */
  readonly perPod: number;
  readonly scaledBy: string | undefined;
}

/**
 * How a function is. One whose pods the cluster calls ready and that cannot be connected to is `ready` with no replica:
 * its callers are to be told at once, since nobody is at work on it.
 */
export function statusOf(name: string, deployment: KubeDeployment, view: FunctionView): FunctionStatus {
  const { wanted, ready, available, perPod, scaledBy } = view;
  const failing = troubleOf(deployment);
  const trouble = failing && `${failing.reason}: ${failing.message}`;
  const common = { name, replicas: wanted, scaledBy };
  if (wanted === 0) return { ...common, state: 'cold', availableReplicas: 0, capacity: 0, message: undefined };
  if (ready > 0) {
    const message = available > 0 ? trouble : 'none of its pods can be connected to';
    return { ...common, state: 'ready', availableReplicas: available, capacity: available * perPod, message };
  }
  const state = trouble === undefined ? 'scaling' : 'failed';
  return { ...common, state, availableReplicas: 0, capacity: 0, message: trouble };
}

/** Whether a provider need not be told it again. */
export function isSameStatus(one: FunctionStatus, other: FunctionStatus): boolean {
  return (Object.keys(other) as (keyof FunctionStatus)[]).every((key) => one[key] === other[key]);
}

/** Why pods do not come up. */
export interface Trouble {
  readonly reason: string;
  readonly message: string;
}

/** As the controller of Deployments says it; what it said of an older one is of no account. */
export function troubleOf({ metadata, status }: KubeDeployment): Trouble | undefined {
  if ((status?.observedGeneration ?? 0) < (metadata.generation ?? 0)) return undefined;
  const failing = status?.conditions?.find(
    ({ type, status: is, reason }) =>
      (type === 'ReplicaFailure' && is === 'True') || (type === 'Progressing' && reason === 'ProgressDeadlineExceeded'),
  );
  return failing && { reason: failing.reason ?? failing.type, message: failing.message ?? 'no more is said of it' };
}

/** How many calls the watchdog in a pod takes at once; undefined where it has no such limit. */
export function maxInflightOf({ spec }: KubeDeployment): number | undefined {
  const [container] = spec?.template.spec?.containers ?? [];
  const text = container?.env?.find(({ name }) => name === 'max_inflight')?.value;
  const count = text !== undefined && /^\d{1,6}$/.test(text) ? Number(text) : 0;
  return count > 0 ? count : undefined;
}
