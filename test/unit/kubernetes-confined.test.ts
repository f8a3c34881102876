import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { deploymentOf, deploymentSchema } from '../../core/config/deployments.ts';
import type { Deployment } from '../../core/contracts/deployment.ts';
import { functionObjects } from '../../plugins/providers/kubernetes/objects/function-objects.ts';

const bare = { service: 'thumbs', image: 'figlet' };
const settings = { pullSecrets: new Set<string>(), profiles: [], imagePullPolicy: 'Always', nonRoot: false } as const;

function podOf(deployment: Deployment) {
  const spec = functionObjects(deployment, settings).deployment.spec?.template.spec;
  if (!spec) throw new Error('no pod');
  return spec;
}
const plain = (asked: object = {}): Deployment =>
  deploymentOf(deploymentSchema.parse({ ...bare, ...asked }), 'openfaas-fn');

/** What a pod could be let loose by. */
const oddKeys =
  'privileged hostPath hostNetwork hostPID securityContext podSpec volumes capabilities serviceAccountName containers __proto__'.split(
    ' ',
  );

/** What holds for every pod of a function. */
function expectConfined(spec: ReturnType<typeof podOf>): void {
  const allowed = ['containers', 'restartPolicy', 'dnsPolicy', 'enableServiceLinks', 'automountServiceAccountToken'];
  const others = ['serviceAccountName', 'nodeSelector', 'volumes', 'imagePullSecrets', 'securityContext'];
  for (const key of Object.keys(spec)) expect([...allowed, ...others]).toContain(key);
  expect(spec.containers).toHaveLength(1);
  const context = spec.containers[0]?.securityContext;
  expect(context).toMatchObject({ allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } });
  expect(Object.keys(context ?? {})).toHaveLength(4);
  expect(spec.securityContext).toEqual({ seccompProfile: { type: 'RuntimeDefault' } });
  expect(spec.automountServiceAccountToken).toBe(spec.serviceAccountName !== undefined);
  for (const volume of spec.volumes ?? []) expect(Object.keys(volume).join()).toMatch(/^name,(projected|emptyDir)$/);
}
describe('the pods of functions', () => {
  // Fission CVE-2026-50545, -50563, -50564, -50566, -50570, -46617, -50565: what a deployment says reached the pod.
  it('are confined, whatever a deployment asks for', () => {
    const odd = fc.constantFrom(...oddKeys);
    const words = fc.oneof(fc.string(), odd);
    const often = (usual: string, other: fc.Arbitrary<string>): fc.Arbitrary<string> =>
      fc.oneof({ weight: 9, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: other });
    const map = fc.dictionary(words, fc.string(), { maxKeys: 4 });
    const asked = fc.record(
      {
        envProcess: fc.string(),
        envVars: map,
        labels: map,
        annotations: map,
        constraints: fc.array(often('disk=ssd', fc.string()), { maxLength: 3 }),
        secrets: fc.array(often('api-key', words), { maxLength: 3 }),
        limits: fc.dictionary(
          often('memory', fc.constantFrom('cpu', 'hostPath')),
          often('64Mi', fc.constantFrom('1', '{}')),
        ),
        readOnlyRootFilesystem: fc.boolean(),
      },
      { requiredKeys: [] },
    );
    const more = fc.option(fc.tuple(odd, fc.jsonValue()), { nil: undefined });
    let taken = 0;
    const property = fc.property(asked, more, (one, extra) => {
      const body = { ...bare, ...one, ...(extra && Object.fromEntries([extra])) };
      const parsed = deploymentSchema.safeParse(body);
      if (extra) expect(parsed.success).toBe(false);
      if (!parsed.success) return;
      let spec: ReturnType<typeof podOf>;
      try {
        spec = podOf(deploymentOf(parsed.data, 'openfaas-fn'));
      } catch (error) {
        expect(error).toMatchObject({ code: 'request.invalid' });
        return;
      }
      taken++;
      expectConfined(spec);
    });
    fc.assert(property, { numRuns: 2000 });
    expect(taken).toBeGreaterThan(100);
    // What the check would say to one that is not.
    const loose = podOf(plain());
    Object.assign(loose, { hostNetwork: true });
    expect(() => expectConfined(loose)).toThrow();
  });

  it.each([
    'container.apparmor.security.beta.kubernetes.io/thumbs',
    'container.seccomp.security.alpha.kubernetes.io/thumbs',
    'seccomp.security.alpha.kubernetes.io/pod',
  ])('cannot be let loose by the annotation %s', (name) => {
    expect(() => podOf(plain({ annotations: { [name]: 'unconfined' } }))).toThrow('is not for functions to set');
  });
});
