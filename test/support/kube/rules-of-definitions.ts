import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { itemsOf, objectOf, type RulesWorld, told, until } from './rules-world.ts';

const definitions = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';

/** A kind of one's own: `things` of a group that no other suite has. */
function definitionOf(group: string): object {
  const spec = {
    type: 'object',
    required: ['image'],
    properties: {
      image: { type: 'string' },
      replicas: { type: 'integer', minimum: 0, default: 1 },
      labels: { type: 'object', additionalProperties: { type: 'string' } },
      mode: { type: 'string', enum: ['a', 'b'] },
    },
  };
  const status = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
  const openAPIV3Schema = { type: 'object', required: ['spec'], properties: { spec, status } };
  const version = {
    name: 'v1',
    served: true,
    storage: true,
    subresources: { status: {} },
    schema: { openAPIV3Schema },
  };
  const names = { plural: 'things', singular: 'thing', kind: 'Thing' };
  return { metadata: { name: `things.${group}` }, spec: { group, scope: 'Namespaced', names, versions: [version] } };
}

/** Kinds that a client defines. */
export function definitionRules(world: () => RulesWorld): void {
  const group = `g${randomBytes(4).toString('hex')}.millrace.test`;
  const things = (): string => `/apis/${group}/v1/namespaces/${world().namespace}/things`;
  const thing = (name: string, spec: object, more: object = {}): object => {
    return { apiVersion: `${group}/v1`, kind: 'Thing', metadata: { name, ...more }, spec };
  };

  describe('objects of a definition', () => {
    beforeAll(async () => {
      const { api } = world();
      expect((await api.get(things())).status).toBe(404);
      await api.ask('POST', definitions, definitionOf(group));
      await until(async () => (await api.get(things())).status === 200);
    });
    afterAll(() => world().api.ask('DELETE', `${definitions}/things.${group}`));

    it('are checked by its schema, and filled in', async () => {
      const { api } = world();
      const bad = await api.ask('POST', things(), thing('bad', { replicas: -1, mode: 'c', labels: { a: 1 } }));
      const { causes } = bad.body['details'] as { causes: { reason: string; field: string }[] };
      expect(bad.status).toBe(422);
      expect(new Set(causes.map(({ reason, field }) => `${reason} ${field}`))).toEqual(
        new Set([
          'FieldValueInvalid spec.replicas',
          'FieldValueNotSupported spec.mode',
          'FieldValueRequired spec.image',
          'FieldValueTypeInvalid spec.labels.a',
        ]),
      );
      const unknown = await api.ask('POST', `${things()}?fieldValidation=Strict`, thing('bad', { image: 'x', foo: 1 }));
      expect(told(unknown)).toEqual({
        status: 400,
        reason: 'BadRequest',
        message: 'Thing in version "v1" cannot be handled as a Thing: strict decoding error: unknown field "spec.foo"',
      });
      expect((await api.ask('POST', things(), { metadata: { name: 'x' }, spec: { image: 'x' } })).status).toBe(400);
      const good = await api.ask('POST', things(), {
        ...thing('good', { image: 'x', foo: 1 }),
        status: { ready: true },
      });
      expect(objectOf(good).spec).toEqual({ image: 'x', replicas: 1 });
      expect(good.body).not.toHaveProperty('status');
      expect(itemsOf(await api.get(things()))[0]).toMatchObject({ kind: 'Thing', apiVersion: `${group}/v1` });
    });

    it('have a status that is written by itself', async () => {
      const { api } = world();
      await api.ask('POST', things(), thing('stated', { image: 'x' }));
      const stated = await api.merge(`${things()}/stated/status`, { status: { replicas: 3 }, spec: { image: 'y' } });
      expect(stated.body).toMatchObject({ spec: { image: 'x' }, status: { replicas: 3 }, metadata: { generation: 1 } });
      const changed = await api.merge(`${things()}/stated`, { status: { replicas: 4 }, spec: { image: 'z' } });
      expect(changed.body).toMatchObject({
        spec: { image: 'z' },
        status: { replicas: 3 },
        metadata: { generation: 2 },
      });
    });

    it('are updated only by who says which version', async () => {
      const { api } = world();
      const { metadata } = objectOf(await api.ask('POST', things(), thing('versioned', { image: 'x' })));
      expect(told(await api.ask('PUT', `${things()}/versioned`, thing('versioned', { image: 'y' })))).toEqual({
        status: 422,
        reason: 'Invalid',
        message: `things.${group} "versioned" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update`,
      });
      const { resourceVersion } = metadata;
      const updated = await api.ask(
        'PUT',
        `${things()}/versioned`,
        thing('versioned', { image: 'y' }, { resourceVersion }),
      );
      expect(updated.status).toBe(200);
    });

    it('know no strategic merge', async () => {
      const contentType = 'application/strategic-merge-patch+json';
      const { status } = await world().api.ask('PATCH', `${things()}/good`, { spec: {} }, { contentType });
      expect(status).toBe(415);
    });

    it('go with it', async () => {
      const { api } = world();
      await api.ask('DELETE', `${definitions}/things.${group}`);
      await until(async () => (await api.get(things())).status === 404);
    });
  });
}
