import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { describe, inject, it } from 'vitest';
import { builtCluster, type RealPrograms } from './real-cluster.ts';

/** What a test file is told about the real cluster that all of them share. */
export type SharedCluster = { readonly kubeconfig: string; readonly whole: boolean } | { readonly missing: string };

/**
 * `describe` over a real Kubernetes API server, which all test files share; without one its tests are skipped, with one
 * line that says why. To be awaited at the top of a test file. Others use the same cluster at the same time: a test makes
 * namespaces of its own, and removes them. `pods`: not on an API server alone, where Deployments get no pods.
 */
export async function describeWithKube(
  name: string,
  suite: (kubeconfig: string, hasPods: boolean) => void,
  { pods = false }: { readonly pods?: boolean } = {},
): Promise<void> {
  const shared = await sharedCluster();
  if ('missing' in shared) without(name, shared.missing);
  else if (pods && !shared.whole)
    without(name, 'the API server of KUBEBUILDER_ASSETS has no controllers: npm run kube has');
  else describe(name, () => suite(shared.kubeconfig, shared.whole));
}

/** `describe` of tests that start clusters of their own, and break them; without a build, or root's leave, as above. */
export function describeWithOwnKube(name: string, suite: (programs: RealPrograms) => void): void {
  const programs = process.env['MILLRACE_KUBE'] === '1' ? builtCluster() : undefined;
  if (!programs) without(name, 'a cluster of its own: `npm run kube` once, then MILLRACE_KUBE=1');
  else if (process.getuid?.() !== 0) without(name, 'pods that answer need their addresses, which only root can give');
  else describe(name, () => suite(programs));
}

async function sharedCluster(): Promise<SharedCluster> {
  const question = request({ socketPath: inject('brokers'), path: '/kube' });
  question.end();
  const [answer] = (await once(question, 'response')) as [IncomingMessage];
  const body = await text(answer);
  if (answer.statusCode !== 200) throw new Error(`the Kubernetes API server could not be started: ${body}`);
  return JSON.parse(body) as SharedCluster;
}

function without(name: string, missing: string): void {
  process.stderr.write(`skipped: ${name}: ${missing}\n`);
  describe(name, () => it.skip(missing, () => undefined));
}
