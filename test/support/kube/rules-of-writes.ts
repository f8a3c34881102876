import { describe, expect, it } from 'vitest';
import type { Answer } from './api-client.ts';
import { deploymentOf, objectOf, type RulesWorld, told, until } from './rules-world.ts';

/** What is written is filled in, checked and compared before it is kept. */
export function writeRules(world: () => RulesWorld): void {
  describe('writes', () => {
    const post = (path: string, body: unknown): Promise<Answer> => world().api.ask('POST', path, body);
    const put = (path: string, body: unknown): Promise<Answer> => world().api.ask('PUT', path, body);

    it('fills in what was left out, and writes quantities its own way', async () => {
      const resources = { limits: { memory: '0.5Gi', cpu: '1.50' }, requests: { cpu: '0.1' } };
      const readinessProbe = { httpGet: { path: '/_/ready', port: 8080 } };
      const created = await post(
        `${world().deployments}?fieldValidation=Strict`,
        deploymentOf('filled', { container: { resources, readinessProbe } }),
      );
      expect(created.status).toBe(201);
      expect(objectOf(created).metadata).toMatchObject({
        namespace: world().namespace,
        generation: 1,
        labels: { app: 'filled' },
      });
      expect(objectOf(created).spec).toEqual({
        replicas: 1,
        selector: { matchLabels: { app: 'filled' } },
        strategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: '25%', maxSurge: '25%' } },
        revisionHistoryLimit: 10,
        progressDeadlineSeconds: 600,
        template: {
          metadata: { labels: { app: 'filled' } },
          spec: {
            containers: [
              {
                name: 'filled',
                image: 'example.org/none:1',
                ports: [{ containerPort: 8080, protocol: 'TCP' }],
                resources: { limits: { memory: '512Mi', cpu: '1500m' }, requests: { cpu: '100m' } },
                readinessProbe: {
                  httpGet: { path: '/_/ready', port: 8080, scheme: 'HTTP' },
                  timeoutSeconds: 1,
                  periodSeconds: 10,
                  successThreshold: 1,
                  failureThreshold: 3,
                },
                terminationMessagePath: '/dev/termination-log',
                terminationMessagePolicy: 'File',
                imagePullPolicy: 'IfNotPresent',
              },
            ],
            restartPolicy: 'Always',
            terminationGracePeriodSeconds: 30,
            dnsPolicy: 'ClusterFirst',
            securityContext: {},
            schedulerName: 'default-scheduler',
          },
        },
      });
    });

    it('refuses a second one of a name, an unknown one, and one in a namespace that is not there', async () => {
      await post(world().deployments, deploymentOf('twice'));
      expect(told(await post(world().deployments, deploymentOf('twice')))).toEqual({
        status: 409,
        reason: 'AlreadyExists',
        message: 'deployments.apps "twice" already exists',
      });
      expect(told(await put(`${world().deployments}/none`, deploymentOf('none')))).toEqual({
        status: 404,
        reason: 'NotFound',
        message: 'deployments.apps "none" not found',
      });
      expect(told(await post('/apis/apps/v1/namespaces/no-such/deployments', deploymentOf('one')))).toEqual({
        status: 404,
        reason: 'NotFound',
        message: 'namespaces "no-such" not found',
      });
    });

    it('refuses unknown fields if asked to, tells them otherwise, and drops them', async () => {
      const unknown = { ...deploymentOf('unknown', { container: { imagee: 'x' }, spec: { bar: 2 } }) };
      expect(told(await post(`${world().deployments}?fieldValidation=Strict`, unknown))).toEqual({
        status: 400,
        reason: 'BadRequest',
        message: expect.stringMatching(
          /^Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: unknown field "spec\.(bar|template\.spec\.containers\[0\]\.imagee)", unknown field/,
        ) as unknown,
      });
      const warned = await post(`${world().deployments}?dryRun=All`, unknown);
      expect(warned.status).toBe(201);
      expect(String(warned.headers['warning'])).toContain('unknown field \\"spec.bar\\"');
      expect(objectOf(warned).spec).not.toHaveProperty('bar');
      expect((await world().api.get(`${world().deployments}/unknown`)).status).toBe(404);
    });

    it('refuses values of another type, quantities that are none, and bytes that are not base64', async () => {
      const wrong = async (body: object, message: RegExp): Promise<void> => {
        expect(told(await post(world().deployments, body))).toEqual({
          status: 400,
          reason: 'BadRequest',
          message: expect.stringMatching(message) as unknown,
        });
      };
      await wrong(
        deploymentOf('typed', { spec: { replicas: '2' } }),
        /json: cannot unmarshal string into Go struct field .*replicas of type int32/,
      );
      await wrong(
        deploymentOf('typed', { container: { resources: { limits: { memory: '12Q' } } } }),
        /quantities must match the regular expression/,
      );
      expect(told(await post(`${world().core}/secrets`, { metadata: { name: 'bytes' }, data: { a: '!!' } }))).toEqual({
        status: 400,
        reason: 'BadRequest',
        message: 'Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte 0',
      });
    });

    it.each([
      ['a name that is none', { ...deploymentOf('bad'), metadata: { name: 'Bad' } }, ['metadata.name']],
      [
        'no selector',
        deploymentOf('bad', { spec: { selector: undefined } }),
        ['spec.selector', 'spec.template.metadata.labels'],
      ],
      [
        'a selector that does not select',
        deploymentOf('bad', { spec: { selector: { matchLabels: { app: 'other' } } } }),
        ['spec.template.metadata.labels'],
      ],
      [
        'no image',
        deploymentOf('bad', { container: { image: undefined } }),
        ['spec.template.spec.containers[0].image'],
      ],
      [
        'a container name that is none',
        deploymentOf('bad', { container: { name: 'a.b' } }),
        ['spec.template.spec.containers[0].name'],
      ],
      [
        'a variable without a name',
        deploymentOf('bad', { container: { env: [{ value: 'x' }] } }),
        ['spec.template.spec.containers[0].env[0].name'],
      ],
      [
        'a mount without a volume',
        deploymentOf('bad', { container: { volumeMounts: [{ name: 'tmp', mountPath: '/tmp' }] } }),
        ['spec.template.spec.containers[0].volumeMounts[0].name'],
      ],
      [
        'more requested than allowed',
        deploymentOf('bad', { container: { resources: { requests: { memory: '2Gi' }, limits: { memory: '1Gi' } } } }),
        ['spec.template.spec.containers[0].resources.requests'],
      ],
      [
        'a resource that nobody knows',
        deploymentOf('bad', { container: { resources: { limits: { gpu: '1' } } } }),
        [
          'spec.template.spec.containers[0].resources.limits[gpu]',
          'spec.template.spec.containers[0].resources.limits[gpu]',
        ],
      ],
      [
        'a probe of nothing',
        deploymentOf('bad', { container: { livenessProbe: { periodSeconds: 2 } } }),
        ['spec.template.spec.containers[0].livenessProbe'],
      ],
      [
        'a label that is none',
        deploymentOf('bad', { labels: { x: 'a b' } }),
        ['metadata.labels', 'spec.template.labels'],
      ],
      ['fewer than no replicas', deploymentOf('bad', { spec: { replicas: -1 } }), ['spec.replicas']],
    ])('refuses a Deployment with %s', async (_, body, fields) => {
      const { status, body: answer } = await post(world().deployments, body);
      const causes = (answer['details'] as { causes?: { field: string }[] } | undefined)?.causes ?? [];
      expect({ status, fields: causes.map(({ field }) => field) }).toEqual({ status: 422, fields });
    });

    it('says what is wrong in the words of the API', async () => {
      const { body } = await post(world().deployments, deploymentOf('bad', { container: { image: undefined } }));
      expect(body).toEqual({
        kind: 'Status',
        apiVersion: 'v1',
        metadata: {},
        status: 'Failure',
        message: 'Deployment.apps "bad" is invalid: spec.template.spec.containers[0].image: Required value',
        reason: 'Invalid',
        details: {
          name: 'bad',
          group: 'apps',
          kind: 'Deployment',
          causes: [
            {
              reason: 'FieldValueRequired',
              message: 'Required value',
              field: 'spec.template.spec.containers[0].image',
            },
          ],
        },
        code: 422,
      });
    });

    it('keeps the selector of a Deployment, and counts what changes it in its generation', async () => {
      await post(world().deployments, deploymentOf('kept'));
      const moved = deploymentOf('kept', {
        spec: { selector: { matchLabels: { other: 'x' } } },
        labels: { other: 'x' },
      });
      expect(told(await put(`${world().deployments}/kept`, moved))).toEqual({
        status: 422,
        reason: 'Invalid',
        message:
          'Deployment.apps "kept" is invalid: spec.selector: Invalid value: {"matchLabels":{"other":"x"}}: field is immutable',
      });
      const path = `${world().deployments}/kept`;
      if (world().hasPods)
        await until(async () => objectOf(await world().api.get(path)).metadata.annotations !== undefined);
      const generation = async (patch: object): Promise<number> =>
        objectOf(await world().api.merge(path, patch)).metadata.generation ?? 0;
      const first = await generation({});
      expect(await generation({ metadata: { labels: { more: 'x' } } })).toBe(first);
      expect(await generation({ spec: { minReadySeconds: 1 } })).toBe(first + 1);
      // Of a Deployment that counts for its annotations as well.
      expect(await generation({ metadata: { annotations: { more: 'x' } } })).toBe(first + 2);
    });

    it('refuses a write over a version that is no longer there, or over another object of the name', async () => {
      const { metadata } = objectOf(
        await post(world().deployments, deploymentOf('versions', { spec: { replicas: 0 } })),
      );
      const newer = await world().api.merge(`${world().deployments}/versions`, {
        metadata: { annotations: { a: '1' } },
      });
      expect(newer.status).toBe(200);
      const old = {
        ...deploymentOf('versions'),
        metadata: { name: 'versions', resourceVersion: metadata.resourceVersion },
      };
      const modified =
        'Operation cannot be fulfilled on deployments.apps "versions": the object has been modified; please apply your changes to the latest version and try again';
      expect(told(await put(`${world().deployments}/versions`, old))).toEqual({
        status: 409,
        reason: 'Conflict',
        message: modified,
      });
      expect(
        told(
          await world().api.merge(`${world().deployments}/versions`, {
            metadata: { resourceVersion: metadata.resourceVersion },
          }),
        ),
      ).toEqual({
        status: 409,
        reason: 'Conflict',
        message: modified,
      });
      const other = { ...deploymentOf('versions'), metadata: { name: 'versions', uid: 'other' } };
      expect((await put(`${world().deployments}/versions`, other)).status).toBe(409);
      // Without a version it is written whatever was there.
      expect(
        (await put(`${world().deployments}/versions`, deploymentOf('versions', { spec: { replicas: 0 } }))).status,
      ).toBe(200);
    });

    it('makes no new version of a write that changes nothing', async () => {
      await post(`${world().core}/configmaps`, { metadata: { name: 'same' }, data: { a: '1' } });
      const before = objectOf(await world().api.get(`${world().core}/configmaps/same`));
      const again = await put(`${world().core}/configmaps/same`, { metadata: { name: 'same' }, data: { a: '1' } });
      expect(objectOf(again).metadata.resourceVersion).toBe(before.metadata.resourceVersion);
      const merged = await world().api.merge(`${world().core}/configmaps/same`, { data: { a: '1' } });
      expect(objectOf(merged).metadata.resourceVersion).toBe(before.metadata.resourceVersion);
    });

    it('refuses a body that says other than its path, or has a version before it is there', async () => {
      const answers = [
        await post(world().deployments, { kind: 'Foo', apiVersion: 'apps/v1', ...deploymentOf('a') }),
        await post(world().deployments, { ...deploymentOf('a'), metadata: { name: 'a', namespace: 'other' } }),
        await put(`${world().deployments}/none`, deploymentOf('a')),
        await post(world().deployments, { ...deploymentOf('a'), metadata: { name: 'a', resourceVersion: '12' } }),
        await post(`${world().deployments}/a`, deploymentOf('a')),
        await post(world().deployments, '{"metadata":'),
        await world().api.ask('POST', world().deployments, 'x', { contentType: 'application/foo' }),
        await world().api.ask('PATCH', `${world().deployments}/filled`, '{}', { contentType: 'application/foo' }),
      ];
      expect(answers.map(({ status }) => status)).toEqual([400, 400, 400, 500, 405, 400, 415, 415]);
      expect(answers.map(({ body }) => body['message'])).toEqual([
        expect.stringMatching(/^Foo in version "v1" cannot be handled as a Deployment: no kind "Foo" is registered/),
        'the namespace of the provided object does not match the namespace sent on the request',
        'the name of the object (a) does not match the name on the URL (none)',
        'resourceVersion should not be set on objects to be created',
        'the server does not allow this method on the requested resource',
        expect.stringMatching(
          /^the object provided is unrecognized \(must be of type Deployment\): couldn't get version\/kind/,
        ),
        expect.stringMatching(/^the body of the request was in an unknown format/),
        '415: Unsupported Media Type',
      ]);
    });

    it('patches by merge, by operations, and by what it knows of lists', async () => {
      await post(
        world().deployments,
        deploymentOf('patched', {
          annotations: { x: 'y' },
          container: {
            env: [
              { name: 'A', value: '1' },
              { name: 'B', value: '2' },
            ],
          },
        }),
      );
      const path = `${world().deployments}/patched`;
      const env = (answer: Answer): unknown =>
        (objectOf(answer).spec as unknown as { template: { spec: { containers: [{ env: unknown }] } } }).template.spec
          .containers[0].env;
      const strategic = {
        spec: { template: { spec: { containers: [{ name: 'patched', env: [{ name: 'B', value: '3' }] }] } } },
      };
      const merged = await world().api.ask('PATCH', path, strategic, {
        contentType: 'application/strategic-merge-patch+json',
      });
      expect(env(merged)).toEqual([
        { name: 'A', value: '1' },
        { name: 'B', value: '3' },
      ]);
      const removed = {
        spec: { template: { spec: { containers: [{ name: 'patched', env: [{ name: 'A', $patch: 'delete' }] }] } } },
      };
      expect(
        env(await world().api.ask('PATCH', path, removed, { contentType: 'application/strategic-merge-patch+json' })),
      ).toEqual([{ name: 'B', value: '3' }]);
      const operations = [
        { op: 'test', path: '/spec/replicas', value: 1 },
        { op: 'replace', path: '/spec/replicas', value: 0 },
        { op: 'add', path: '/metadata/annotations/a~1b', value: 'c' },
      ];
      const operated = await world().api.ask('PATCH', path, operations, { contentType: 'application/json-patch+json' });
      expect(objectOf(operated).metadata.annotations).toMatchObject({ 'a/b': 'c' });
      const failed = await world().api.ask('PATCH', path, [{ op: 'test', path: '/spec/replicas', value: 7 }], {
        contentType: 'application/json-patch+json',
      });
      expect(failed.status).toBe(422);
      const gone = await world().api.merge(path, { metadata: { annotations: null } });
      expect(objectOf(gone).metadata.annotations).toBeUndefined();
    });
  });
}
