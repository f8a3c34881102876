import type { Deployment } from '../../../../core/contracts/deployment.ts';
import { MillraceError } from '../../../../core/contracts/errors.ts';
import type { Container, KubeProfile, PodSpec, PodTemplate } from '../kinds.ts';
import { probesOf } from './probes.ts';
import {
  functionLabel,
  functionPort,
  processVariable,
  scrapeAnnotation,
  secretsFolder,
  serviceAccountAnnotation,
} from './words.ts';

/** What goes into a pod beside its function's own wishes. */
export interface PodSettings {
  /** Those of the function's secrets that images are pulled with; the others become files. */
  readonly pullSecrets: ReadonlySet<string>;
  /** In the order in which the function names them; later ones win. */
  readonly profiles: readonly KubeProfile[];
  readonly imagePullPolicy: 'Always' | 'IfNotPresent' | 'Never';
  /** Runs it as the user that OpenFaaS has for functions without root, whatever its image says. */
  readonly nonRoot: boolean;
}

/** The user and group of `nonRoot`, as faas-netes has it. */
const functionUser = 12_000;

/** Annotations by which a pod took its confinement off, before that had fields; clusters still heed them. */
const unconfining = /^(container\.)?(apparmor|seccomp)\.security\.(alpha|beta)\.kubernetes\.io\//;

/**
 * What runs a function. Built of the fields here and no others: a deployment cannot ask for a host path, a privileged
 * container or another namespace's network, since there is nothing of that to copy.
 *
 * @throws MillraceError `request.invalid` for annotations and constraints that mean nothing.
 */
export function podTemplateOf(deployment: Deployment, settings: PodSettings): PodTemplate {
  const { service, labels, annotations } = deployment;
  const forbidden = Object.keys(annotations).find((name) => unconfining.test(name));
  if (forbidden !== undefined) {
    throw new MillraceError('request.invalid', `annotations: ${JSON.stringify(forbidden)} is not for functions to set`);
  }
  return {
    metadata: {
      name: service,
      labels: { ...labels, [functionLabel]: service },
      annotations: { [scrapeAnnotation]: 'false', ...annotations },
    },
    spec: podSpecOf(deployment, settings),
  };
}

function podSpecOf(deployment: Deployment, { pullSecrets, profiles, ...settings }: PodSettings): PodSpec {
  const { service, secrets, constraints, readOnlyRootFilesystem } = deployment;
  const account = deployment.annotations[serviceAccountAnnotation];
  const files = secrets.filter((name) => !pullSecrets.has(name));
  const pulling = secrets.filter((name) => pullSecrets.has(name));
  const volumes: NonNullable<PodSpec['volumes']> = [];
  const volumeMounts: NonNullable<Container['volumeMounts']> = [];
  if (files.length > 0) {
    // As faas-netes names it.
    const name = `${service}-projected-secrets`;
    volumes.push({ name, projected: { sources: files.map((secret) => ({ secret: { name: secret } })) } });
    volumeMounts.push({ name, mountPath: secretsFolder, readOnly: true });
  }
  if (readOnlyRootFilesystem) {
    volumes.push({ name: 'temp', emptyDir: {} });
    volumeMounts.push({ name: 'temp', mountPath: '/tmp' });
  }
  return {
    containers: [containerOf(deployment, settings, volumeMounts)],
    restartPolicy: 'Always',
    dnsPolicy: 'ClusterFirst',
    enableServiceLinks: false,
    // A token is for functions that have been given an account to do something with.
    automountServiceAccountToken: account !== undefined,
    ...(account !== undefined && { serviceAccountName: account }),
    ...(constraints.length > 0 && { nodeSelector: Object.fromEntries(constraints.map(constraintOf)) }),
    ...(volumes.length > 0 && { volumes }),
    ...(pulling.length > 0 && { imagePullSecrets: pulling.map((name) => ({ name })) }),
    ...profiled(profiles),
    securityContext: securityOf(profiles, settings.nonRoot),
  };
}

function containerOf(
  deployment: Deployment,
  { imagePullPolicy }: Pick<PodSettings, 'imagePullPolicy'>,
  volumeMounts: NonNullable<Container['volumeMounts']>,
): Container {
  const { service, image, limits, requests, readOnlyRootFilesystem = false } = deployment;
  return {
    name: service,
    image,
    imagePullPolicy,
    ports: [{ name: 'http', containerPort: functionPort, protocol: 'TCP' }],
    env: environmentOf(deployment),
    ...((limits || requests) && {
      resources: { ...(limits && { limits: { ...limits } }), ...(requests && { requests: { ...requests } }) },
    }),
    ...probesOf(deployment.annotations),
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      readOnlyRootFilesystem,
      seccompProfile: { type: 'RuntimeDefault' },
    },
    ...(volumeMounts.length > 0 && { volumeMounts }),
  };
}

/** In the order of their names: the same deployment is the same object. */
function environmentOf({ envVars, envProcess }: Deployment): NonNullable<Container['env']> {
  const variables = { ...envVars, ...(envProcess !== undefined && { [processVariable]: envProcess }) };
  return Object.entries(variables)
    .toSorted(([one], [other]) => (one < other ? -1 : 1))
    .map(([name, value]) => ({ name, value }));
}

/** `zone=west` or `zone == west`: docs.openfaas.com, "Constraints". */
function constraintOf(constraint: string): readonly [string, string] {
  const [, key, value] = /^\s*([^=\s]+)\s*==?\s*([^=\s]*)\s*$/.exec(constraint) ?? [];
  if (key !== undefined && value !== undefined) return [key, value];
  const text = `constraints: expected KEY=VALUE of a label of nodes, got ${JSON.stringify(constraint)}`;
  throw new MillraceError('request.invalid', text);
}

const profileFields = [
  'runtimeClassName',
  'priorityClassName',
  'dnsPolicy',
  'dnsConfig',
  'affinity',
  'topologySpreadConstraints',
] as const;

function profiled(profiles: readonly KubeProfile[]): Partial<PodSpec> {
  const merged: Record<string, unknown> = {};
  for (const { spec } of profiles) {
    for (const field of profileFields) if (spec[field] !== undefined) merged[field] = spec[field];
  }
  const tolerations = profiles.flatMap(({ spec }) => spec.tolerations ?? []);
  return { ...(merged as Partial<PodSpec>), ...(tolerations.length > 0 && { tolerations }) };
}

function securityOf(profiles: readonly KubeProfile[], nonRoot: boolean): NonNullable<PodSpec['securityContext']> {
  return {
    ...(nonRoot && { runAsNonRoot: true, runAsUser: functionUser, runAsGroup: functionUser }),
    seccompProfile: { type: 'RuntimeDefault' },
    ...Object.assign({}, ...profiles.map(({ spec }) => spec.podSecurityContext)),
  };
}
