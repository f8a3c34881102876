import { describe, expect, it } from 'vitest';
import type { Answer } from './api-client.ts';
import { deploymentOf, itemsOf, objectOf, type RulesWorld, told, until } from './rules-world.ts';

/** What is particular about each kind of object that functions are made of. */
export function objectRules(world: () => RulesWorld): void {
  const post = (path: string, body: unknown): Promise<Answer> => world().api.ask('POST', path, body);
  const put = (path: string, body: unknown): Promise<Answer> => world().api.ask('PUT', path, body);

  describe('services', () => {
    const serviceOf = (name: string, spec: object = {}): object => ({
      metadata: { name },
      spec: { selector: { app: name }, ports: [{ port: 8080 }], ...spec },
    });

    it('get an address that stays', async () => {
      const services = `${world().core}/services`;
      const created = objectOf(await post(services, serviceOf('address')));
      const { clusterIP } = created.spec as { clusterIP: string };
      expect(created.spec).toEqual({
        selector: { app: 'address' },
        ports: [{ port: 8080, targetPort: 8080, protocol: 'TCP' }],
        type: 'ClusterIP',
        sessionAffinity: 'None',
        clusterIP: expect.stringMatching(/^10\./) as unknown,
        clusterIPs: [clusterIP],
        ipFamilies: ['IPv4'],
        ipFamilyPolicy: 'SingleStack',
        internalTrafficPolicy: 'Cluster',
      });
      const updated = await put(`${services}/address`, serviceOf('address', { ports: [{ port: 8081 }] }));
      expect(objectOf(updated).spec).toMatchObject({ clusterIP, ports: [{ port: 8081, targetPort: 8081 }] });
      expect(told(await put(`${services}/address`, serviceOf('address', { clusterIP: '10.0.0.77' })))).toEqual({
        status: 422,
        reason: 'Invalid',
        message:
          'Service "address" is invalid: spec.clusterIPs[0]: Invalid value: ["10.0.0.77"]: may not change once set',
      });
    });

    it('want ports with names, and a name without dots', async () => {
      const messages = [
        await post(`${world().core}/services`, serviceOf('bad', { ports: [{ port: 0 }] })),
        await post(`${world().core}/services`, serviceOf('bad', { ports: [{ port: 80 }, { port: 81 }] })),
        await post(`${world().core}/services`, serviceOf('bad', { ports: [] })),
        await post(`${world().core}/services`, { ...serviceOf('x'), metadata: { name: 'a.b' } }),
      ].map(({ body }) => (body['details'] as { causes: { field: string }[] }).causes.map(({ field }) => field));
      expect(messages).toEqual([
        ['spec.ports[0].port', 'spec.ports[0].targetPort'],
        ['spec.ports[0].name', 'spec.ports[1].name'],
        ['spec.ports'],
        ['metadata.name'],
      ]);
    });
  });

  describe('secrets', () => {
    it('keep bytes, and their type', async () => {
      const secrets = `${world().core}/secrets`;
      const made = await post(secrets, { metadata: { name: 'typed' }, type: 'openfaas', stringData: { a: 'é' } });
      expect(made.body).toMatchObject({ type: 'openfaas', data: { a: Buffer.from('é').toString('base64') } });
      expect(made.body).not.toHaveProperty('stringData');
      expect(told(await put(`${secrets}/typed`, { metadata: { name: 'typed' }, stringData: { a: 'x' } }))).toEqual({
        status: 422,
        reason: 'Invalid',
        message: 'Secret "typed" is invalid: type: Invalid value: "Opaque": field is immutable',
      });
      const bad = await post(secrets, { metadata: { name: 'bad' }, stringData: { 'a b': 'x' } });
      expect(bad.body['details']).toMatchObject({ causes: [{ reason: 'FieldValueInvalid', field: 'data[a b]' }] });
    });
  });

  describe('namespaces', () => {
    it('have names without dots, and take nothing new once they end', async () => {
      const { api, namespace } = world();
      const dotted = await post('/api/v1/namespaces', { metadata: { name: 'a.b' } });
      expect(told(dotted)).toMatchObject({
        status: 422,
        message: 'Namespace "a.b" is invalid: metadata.name: Invalid value: "a.b": must not contain dots',
      });
      const name = `${namespace}-end`;
      await post('/api/v1/namespaces', { metadata: { name } });
      // A finalizer holds it long enough to look at.
      const held = { metadata: { name: 'held', finalizers: ['millrace.test/held'] } };
      await post(`/api/v1/namespaces/${name}/configmaps`, held);
      const ending = objectOf(await api.ask('DELETE', `/api/v1/namespaces/${name}`));
      expect(ending.status).toMatchObject({ phase: 'Terminating' });
      expect(told(await post(`/api/v1/namespaces/${name}/configmaps`, { metadata: { name: 'new' } }))).toEqual({
        status: 403,
        reason: 'Forbidden',
        message: `configmaps "new" is forbidden: unable to create new content in namespace ${name} because it is being terminated`,
      });
      await api.merge(`/api/v1/namespaces/${name}/configmaps/held`, { metadata: { finalizers: null } });
      if (world().hasPods) await until(async () => (await api.get(`/api/v1/namespaces/${name}`)).status === 404);
    });
  });

  describe('endpoint slices', () => {
    it('have no loopback addresses when a client writes them', async () => {
      const slice = {
        metadata: { name: 'own' },
        addressType: 'IPv4',
        endpoints: [{ addresses: ['127.0.0.1'] }],
        ports: [],
      };
      const { body } = await post(world().slices, slice);
      expect(body['message']).toBe(
        'EndpointSlice.discovery.k8s.io "own" is invalid: endpoints[0].addresses[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
      );
    });
  });

  describe('scale', () => {
    it('reads and writes the replicas of a Deployment, and leaves zero out', async () => {
      const { api, deployments } = world();
      await post(deployments, deploymentOf('scaled', { spec: { replicas: 0 } }));
      const path = `${deployments}/scaled/scale`;
      const zero = await api.get(path);
      expect(zero.body).toMatchObject({
        kind: 'Scale',
        apiVersion: 'autoscaling/v1',
        metadata: { name: 'scaled', namespace: world().namespace },
        spec: {},
        status: { replicas: 0, selector: 'app=scaled' },
      });
      expect(zero.body['spec']).toEqual({});
      const one = await api.merge(path, { spec: { replicas: 1 } });
      expect(one.body['spec']).toEqual({ replicas: 1 });
      const { generation, resourceVersion } = objectOf(await api.get(`${deployments}/scaled`)).metadata;
      expect(generation).toBe(2);
      expect(told(await api.merge(path, { spec: { replicas: -2 } }))).toEqual({
        status: 422,
        reason: 'Invalid',
        message:
          'Scale.autoscaling "scaled" is invalid: spec.replicas: Invalid value: -2: must be greater than or equal to 0',
      });
      const stale = {
        metadata: { name: 'scaled', namespace: world().namespace, resourceVersion: '1' },
        spec: { replicas: 2 },
      };
      expect(told(await put(path, stale))).toMatchObject({ status: 409, reason: 'Conflict' });
      expect(resourceVersion).not.toBe('1');
      expect(told(await api.get(`${deployments}/none/scale`))).toMatchObject({ status: 404, reason: 'NotFound' });
    });
  });

  describe('pods', () => {
    it('are made for a Deployment, stand in the slices of its Service, and leave them when they end', async () => {
      const { api, deployments, slices, core, hasPods } = world();
      if (!hasPods) return;
      await post(deployments, deploymentOf('podded', { spec: { replicas: 2 } }));
      await post(`${core}/services`, {
        metadata: { name: 'podded' },
        spec: { selector: { app: 'podded' }, ports: [{ port: 8080, name: 'http' }] },
      });
      const bySlice = `${slices}?labelSelector=kubernetes.io/service-name=podded`;
      interface Endpoint {
        readonly addresses: string[];
        readonly conditions: object;
        readonly targetRef: object;
      }
      const endpoints = async (): Promise<Endpoint[]> =>
        itemsOf(await api.get(bySlice)).flatMap((slice) => (slice['endpoints'] as Endpoint[] | null) ?? []);
      await until(async () => (await endpoints()).length === 2);
      await until(async () => objectOf(await api.get(`${deployments}/podded`)).status?.['availableReplicas'] === 2);
      const pods = itemsOf(await api.get(`${core}/pods?labelSelector=app=podded`));
      for (const { metadata, status } of pods) {
        expect(metadata.name).toMatch(/^podded-[0-9a-z]+-[0-9a-z]{5}$/);
        const endpoint = (await endpoints()).find(({ addresses }) => addresses[0] === status?.['podIP']);
        expect(endpoint?.conditions).toEqual({ ready: true, serving: true, terminating: false });
        const { name, namespace, uid } = metadata;
        expect(endpoint?.targetRef).toEqual({ kind: 'Pod', namespace, name, uid });
      }
      const [slice] = itemsOf(await api.get(bySlice));
      expect(slice).toMatchObject({ addressType: 'IPv4', ports: [{ name: 'http', port: 8080, protocol: 'TCP' }] });
      await api.merge(`${deployments}/podded/scale`, { spec: { replicas: 0 } });
      await until(async () => itemsOf(await api.get(`${core}/pods?labelSelector=app=podded`)).length === 0);
      await until(async () =>
        itemsOf(await api.get(bySlice)).every((one) => one['endpoints'] === null && one['ports'] === null),
      );
      expect(itemsOf(await api.get(bySlice))).toHaveLength(1);
      await until(async () => {
        const { status, metadata } = objectOf(await api.get(`${deployments}/podded`));
        return status?.['observedGeneration'] === metadata.generation && status?.['replicas'] === undefined;
      });
    });

    it('are replaced when somebody deletes them', async () => {
      const { api, deployments, core, hasPods } = world();
      if (!hasPods) return;
      await post(deployments, deploymentOf('replaced'));
      const names = async (): Promise<string[]> =>
        itemsOf(await api.get(`${core}/pods?labelSelector=app=replaced`)).map(({ metadata }) => metadata.name);
      await until(async () => (await names()).length === 1);
      const [first] = await names();
      await api.ask('DELETE', `${core}/pods/${first}`, { gracePeriodSeconds: 0 });
      await until(async () => (await names()).some((name) => name !== first));
    });

    it('of a new template take the place of the old ones', async () => {
      const { api, deployments, core, hasPods } = world();
      if (!hasPods) return;
      await post(deployments, deploymentOf('rolled'));
      const images = async (): Promise<string[]> =>
        itemsOf(await api.get(`${core}/pods?labelSelector=app=rolled`)).map(
          ({ spec }) => (spec as unknown as { containers: [{ image: string }] }).containers[0].image,
        );
      await until(async () => (await images()).length === 1);
      await put(`${deployments}/rolled`, deploymentOf('rolled', { container: { image: 'example.org/none:2' } }));
      await until(async () => (await images()).join() === 'example.org/none:2');
    });
  });
}
