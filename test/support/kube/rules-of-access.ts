import { describe, expect, it } from 'vitest';
import { type RulesWorld, told, until } from './rules-world.ts';

/** Who may do what, by Roles and their bindings alone. */
export function accessRules(world: () => RulesWorld): void {
  const tokenOf = async (account: string): Promise<string> => {
    const { api, core } = world();
    await api.ask('POST', `${core}/serviceaccounts`, { metadata: { name: account } });
    const request = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { expirationSeconds: 3600 } };
    const { body } = await api.ask('POST', `${core}/serviceaccounts/${account}/token`, request);
    return (body['status'] as { token: string }).token;
  };

  describe('access', () => {
    it('is refused to a token that nobody gave out, and to nobody', async () => {
      const { api, core } = world();
      expect((await api.get(`${core}/pods`, { token: 'none' })).body).toEqual({
        kind: 'Status',
        apiVersion: 'v1',
        metadata: {},
        status: 'Failure',
        message: 'Unauthorized',
        reason: 'Unauthorized',
        code: 401,
      });
      expect(told(await api.get(`${core}/pods`, { token: '' }))).toMatchObject({ status: 403, reason: 'Forbidden' });
    });

    it('is refused to an account without roles, in words that name what is missing', async () => {
      const { api, core, deployments, namespace } = world();
      const token = await tokenOf('nobody');
      const user = `User "system:serviceaccount:${namespace}:nobody"`;
      const messages = [
        await api.get(deployments, { token }),
        await api.get(`${deployments}/a`, { token }),
        await api.merge(`${deployments}/a/scale`, {}, { token }),
        await api.get('/api/v1/namespaces', { token }),
        await api.ask('POST', `${core}/secrets`, { metadata: { name: 'x' } }, { token }),
      ].map(told);
      const within = `in the namespace "${namespace}"`;
      expect(messages.map(({ message }) => message)).toEqual([
        `deployments.apps is forbidden: ${user} cannot list resource "deployments" in API group "apps" ${within}`,
        `deployments.apps "a" is forbidden: ${user} cannot get resource "deployments" in API group "apps" ${within}`,
        `deployments.apps "a" is forbidden: ${user} cannot patch resource "deployments/scale" in API group "apps" ${within}`,
        `namespaces is forbidden: ${user} cannot list resource "namespaces" in API group "" at the cluster scope`,
        `secrets is forbidden: ${user} cannot create resource "secrets" in API group "" ${within}`,
      ]);
      expect(new Set(messages.map(({ status }) => status))).toEqual(new Set([403]));
    });

    it('is given by a Role to whom it is bound, verb by verb', async () => {
      const { api, core, deployments, namespace } = world();
      const token = await tokenOf('reader');
      const rbac = `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}`;
      await api.ask('POST', `${rbac}/roles`, {
        metadata: { name: 'reader' },
        rules: [{ apiGroups: ['apps'], resources: ['deployments'], verbs: ['get', 'list'] }],
      });
      await api.ask('POST', `${rbac}/rolebindings`, {
        metadata: { name: 'reader' },
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'reader' },
        subjects: [{ kind: 'ServiceAccount', name: 'reader', namespace }],
      });
      await until(async () => (await api.get(deployments, { token })).status === 200);
      const statuses = [
        await api.get(`${deployments}?watch=true&timeoutSeconds=1`, { token }),
        await api.ask('DELETE', `${deployments}/a`, undefined, { token }),
        await api.get(`${deployments}/none/scale`, { token }),
        await api.get(`${core}/secrets`, { token }),
      ].map(({ status }) => status);
      expect(statuses).toEqual([403, 403, 403, 403]);
    });

    it('can be asked about', async () => {
      const { api, namespace } = world();
      const token = await tokenOf('asker');
      const allowed = async (asking: { token?: string }): Promise<unknown> => {
        const body = {
          apiVersion: 'authorization.k8s.io/v1',
          kind: 'SelfSubjectAccessReview',
          spec: { resourceAttributes: { namespace, verb: 'list', group: '', resource: 'secrets' } },
        };
        const answer = await api.ask('POST', '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', body, asking);
        expect(answer.status).toBe(201);
        return (answer.body['status'] as { allowed: boolean }).allowed;
      };
      expect([await allowed({}), await allowed({ token })]).toEqual([true, false]);
    });
  });
}
