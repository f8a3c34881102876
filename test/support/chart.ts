import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';

const root = join(import.meta.dirname, '../..');
export const chartFolder = join(root, 'deploy/helm/millrace');
/** What `helm template millrace deploy/helm/millrace --namespace openfaas` says, for those without Helm. */
export const manifestsFile = join(root, 'deploy/manifests/millrace.yaml');

/** An object of Kubernetes as a manifest has it: looked into here and there, so its type says no more than that. */
// oxlint-disable-next-line typescript/no-explicit-any -- every kind has another shape, and the API server knows them.
export type Manifest = any;

export interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

/** @throws Error when one of the documents is no YAML. */
export function manifestsOf(yaml: string): Manifest[] {
  return parseAllDocuments(yaml).map((document) => {
    if (document.errors[0]) throw document.errors[0];
    return document.toJS();
  });
}

export function shippedManifests(): Manifest[] {
  return manifestsOf(readFileSync(manifestsFile, 'utf8'));
}

/** The only one of its kind, or the one of that name. */
export function the(kind: string, manifests: readonly Manifest[], name?: string): Manifest {
  const found = manifests.filter((one) => one.kind === kind && (name === undefined || one.metadata.name === name));
  if (found.length !== 1) throw new Error(`expected one ${kind} ${name ?? ''}, found ${found.length}`);
  return found[0];
}

/** Why there is no Helm here; undefined if there is. */
export function helmMissing(): string | undefined {
  try {
    execFileSync('helm', ['version'], { stdio: 'ignore' });
    return undefined;
  } catch {
    return 'helm is not on the PATH: go install helm.sh/helm/v3/cmd/helm@v3.22.0';
  }
}

/** What the chart makes of `values` (YAML). Rejects what Helm rejects, with its words. */
export function render(values = '{}', namespace = 'openfaas'): string {
  // A Helm that was built by `go install` takes the cluster for 1.20.
  const options = ['--namespace', namespace, '--kube-version', '1.36.3', '--values', '-'];
  return execFileSync('helm', ['template', 'millrace', chartFolder, ...options], {
    input: values,
    encoding: 'utf8',
    stdio: ['pipe', 'pipe', 'pipe'],
  });
}

export function writeManifests(): void {
  writeFileSync(manifestsFile, render());
}

/** `group/resource` of everything that the rules allow, with the verbs. */
export function grantsOf(rules: readonly Rule[]): Record<string, string[]> {
  const grants: Record<string, string[]> = {};
  for (const { apiGroups, resources, verbs } of rules) {
    for (const group of apiGroups) {
      for (const resource of resources) {
        const key = group === '' ? resource : `${group}/${resource}`;
        grants[key] = [...new Set([...(grants[key] ?? []), ...verbs])].toSorted();
      }
    }
  }
  return grants;
}

/** What of a pod is more than a gateway may have, or less than it must have; empty when all is well. */
export function weaknessesOf(spec: Manifest): string[] {
  const found: string[] = [];
  const must = (isSo: boolean, what: string): void => void (isSo || found.push(what));
  for (const key of ['hostNetwork', 'hostPID', 'hostIPC']) must(spec[key] === undefined, key);
  must(spec.securityContext?.runAsNonRoot === true, 'may be root');
  must(spec.securityContext?.seccompProfile?.type === 'RuntimeDefault', 'no seccomp profile');
  must(
    (spec.volumes ?? []).every((volume: Manifest) => volume.hostPath === undefined),
    'mounts the host',
  );
  for (const container of [...(spec.initContainers ?? []), ...(spec.containers ?? [])]) {
    const { securityContext = {}, resources = {}, image = '' } = container;
    must(securityContext.allowPrivilegeEscalation === false, 'may gain privileges');
    must(securityContext.readOnlyRootFilesystem === true, 'writes to its root');
    must(securityContext.privileged !== true, 'is privileged');
    must(String(securityContext.capabilities?.drop) === 'ALL', 'keeps capabilities');
    must(securityContext.capabilities?.add === undefined, 'adds capabilities');
    must(resources.limits?.memory !== undefined, 'no limit of memory');
    must(resources.requests?.cpu !== undefined && resources.requests?.memory !== undefined, 'asks for nothing');
    must(/(:(?!latest$)[^:/]+|@sha256:[0-9a-f]{64})$/.test(image), 'its image may be any');
  }
  return found;
}
