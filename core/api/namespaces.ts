import { z } from 'zod';
import { MillraceError, missingNamespace } from '../contracts/errors.ts';
import { textMap } from '../config/deployments.ts';
import { dnsLabel } from '../config/units.ts';
import { type ApiRoute, route, type RouteContext } from './route.ts';
import { refusals } from './schemas.ts';

const tag = 'namespaces';
const namespaceBody = z.strictObject({ name: dnsLabel, labels: textMap, annotations: textMap });
const namespaceView = z.object({
  name: z.string(),
  labels: z.record(z.string(), z.string()),
  annotations: z.record(z.string(), z.string()),
});
const params = z.strictObject({ name: dnsLabel });
const done = { description: 'Done.' };
const refused = ['request.invalid', 'deploy.disabled', 'store.unavailable'] as const;

type Asked = z.output<typeof namespaceBody>;

async function create(asked: Asked, { services, reply }: RouteContext): Promise<unknown> {
  // The mark of a namespace for functions; OpenFaaS takes none without it, and its clients add it.
  if (asked.labels['openfaas'] !== '1') {
    throw new MillraceError('request.invalid', 'labels: a namespace for functions has the label "openfaas": "1"');
  }
  await services.deployments.putNamespace(asked, 'create');
  return reply.code(201).send();
}

async function update(name: string, asked: Asked, { services, reply }: RouteContext): Promise<unknown> {
  needSame(name, asked.name);
  await services.deployments.putNamespace(asked, 'update');
  return reply.code(202).send();
}

function needSame(inPath: string, inBody: string): void {
  if (inBody !== inPath)
    throw new MillraceError('request.invalid', `name: the path says ${inPath}, the body ${inBody}`);
}

/** What it is called in the path: OpenFaaS' documentation says one word, its gateway and clients the other. */
const spellings = ['namespace', 'namespaces'] as const;

export const namespaceRoutes: readonly ApiRoute[] = [
  route({
    method: 'GET',
    path: '/system/namespaces',
    auth: ['deploy', 'operate'],
    tag,
    summary: 'Names of all namespaces.',
    responses: { 200: { description: 'The standard one first.', schema: z.array(z.string()) } },
    handle: (_input, { services }) => services.deployments.namespaces().map(({ name }) => name),
  }),
  ...['/system/namespace/', '/system/namespace', '/system/namespaces'].map((path) =>
    route({
      method: 'POST',
      path,
      auth: 'deploy',
      tag,
      summary: 'Makes a namespace.',
      body: namespaceBody,
      responses: { 201: done, ...refusals(...refused, 'request.conflict') },
      handle: ({ body }, context) => create(body, context),
    }),
  ),
  ...spellings.flatMap((word) => [
    route({
      method: 'GET',
      path: `/system/${word}/{name}`,
      auth: ['deploy', 'operate'],
      tag,
      summary: 'One namespace.',
      params,
      responses: { 200: { description: 'As it was made.', schema: namespaceView }, ...refusals('namespace.missing') },
      handle: ({ params: { name } }, { services }) => {
        const found = services.deployments.namespaces().find((one) => one.name === name);
        if (found) return found;
        throw missingNamespace(name);
      },
    }),
    route({
      method: 'PUT',
      path: `/system/${word}/{name}`,
      auth: 'deploy',
      tag,
      summary: 'Gives a namespace other labels and annotations.',
      params,
      body: namespaceBody,
      responses: { 202: done, ...refusals(...refused, 'namespace.missing') },
      handle: ({ params: { name }, body }, context) => update(name, body, context),
    }),
    route({
      method: 'DELETE',
      path: `/system/${word}/{name}`,
      auth: 'deploy',
      tag,
      summary: 'Removes a namespace that has no functions.',
      params,
      body: z.looseObject({ name: dnsLabel.optional() }).optional(),
      responses: {
        202: done,
        ...refusals(...refused, 'namespace.missing', 'request.conflict'),
      },
      handle: async ({ params: { name }, body }, { services, reply }) => {
        if (body?.name !== undefined) needSame(name, body.name);
        await services.deployments.removeNamespace(name);
        return reply.code(202).send();
      },
    }),
  ]),
];
