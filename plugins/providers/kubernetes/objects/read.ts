import type { Deployment } from '../../../../core/contracts/deployment.ts';
import type { Container, KubeDeployment, PodSpec } from '../kinds.ts';
import { functionLabel, processVariable, scrapeAnnotation, secretsFolder, wantedAnnotation } from './words.ts';

type Texts = Readonly<Record<string, string>>;

/**
 * The function that a Deployment runs, whether Millrace, faas-netes or somebody by hand has made it; undefined for one
 * that is none: without the label, or without a container.
 */
export function readDeployment({ metadata, spec }: KubeDeployment): Deployment | undefined {
  const { name, namespace = '' } = metadata;
  const template = spec?.template;
  const container = containerOf(name, template?.spec);
  if (metadata.labels?.[functionLabel] !== name || !template?.spec || !container) return undefined;
  const labels = labelsOf(metadata.annotations, template.metadata?.labels);
  const { [processVariable]: envProcess, ...envVars } = environmentOf(container);
  return {
    service: name,
    namespace,
    image: container.image ?? '',
    envProcess,
    envVars,
    constraints: Object.entries(template.spec.nodeSelector ?? {}).map(([key, value]) => `${key}=${value}`),
    secrets: secretsOf(container, template.spec),
    labels,
    annotations: annotationsOf(template.metadata?.annotations ?? {}),
    limits: someOf(container.resources?.limits),
    requests: someOf(container.resources?.requests),
    readOnlyRootFilesystem: container.securityContext?.readOnlyRootFilesystem || undefined,
  };
}

/** Without that of the selector, and the number by which faas-netes tells one deployment of a function from the next. */
function labelsOf(own: Texts = {}, labels: Texts = {}): Record<string, string> {
  const { [functionLabel]: _, ...others } = labels;
  const { uid, ...rest } = others;
  return uid !== undefined && /^\d+$/.test(uid) && own[wantedAnnotation] === undefined ? rest : others;
}

/** The one of the function's name, or the first: others may have been put beside it. */
function containerOf(name: string, spec: PodSpec | undefined): Container | undefined {
  return spec?.containers.find((container) => container.name === name) ?? spec?.containers[0];
}

function environmentOf({ env = [] }: Container): Record<string, string> {
  // What is taken from elsewhere (`valueFrom`) is no text that could be told.
  return Object.fromEntries(env.flatMap(({ name, value, valueFrom }) => (valueFrom ? [] : [[name, value ?? '']])));
}

/** Without what faas-netes, and Millrace, add by themselves. */
function annotationsOf(annotations: Texts): Record<string, string> {
  return Object.fromEntries(
    Object.entries(annotations).filter(
      ([key, value]) => !(key === scrapeAnnotation && value === 'false') && !key.startsWith('kubectl.kubernetes.io/'),
    ),
  );
}

function secretsOf({ volumeMounts = [] }: Container, { volumes = [], imagePullSecrets = [] }: PodSpec): string[] {
  const mounted = new Set(volumeMounts.filter(({ mountPath }) => mountPath === secretsFolder).map(({ name }) => name));
  const files = volumes
    .filter(({ name }) => mounted.has(name))
    .flatMap(({ projected }) => projected?.sources ?? [])
    .map(({ secret }) => secret?.name);
  const pulling = imagePullSecrets.map(({ name }) => name);
  return [...files, ...pulling].filter((name) => name !== undefined);
}

function someOf(resources: Texts | undefined): Record<string, string> | undefined {
  return resources && Object.keys(resources).length > 0 ? { ...resources } : undefined;
}
