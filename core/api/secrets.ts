import { z } from 'zod';
import { namespaceName, secretName } from '../config/deployments.ts';
import type { FunctionSecrets, SecretName } from '../contracts/deployment.ts';
import { MillraceError } from '../contracts/errors.ts';
import { namespaceOr } from './names.ts';
import { type ApiRoute, route, type RouteContext } from './route.ts';
import { namespaceText, refusals } from './schemas.ts';

const tag = 'secrets';
/** As Kubernetes has it. */
const maxBytes = 1024 * 1024;

const secretBody = z.strictObject({
  name: secretName,
  namespace: namespaceName,
  value: z.string().optional().meta({ secret: true }),
  rawValue: z.base64().optional().meta({ secret: true, description: 'Bytes in base 64; goes before `value`.' }),
});
const done = { description: 'Done.' };
const answers = { 202: done, ...refusals('request.invalid', 'deploy.disabled') };

/** Secrets of functions: they can be written and named, and are never told. */
export const secretRoutes: readonly ApiRoute[] = [
  route({
    method: 'GET',
    path: '/system/secrets',
    auth: 'deploy',
    tag,
    summary: 'Names of the secrets of a namespace; never what they hold.',
    query: z.strictObject({ namespace: namespaceText }),
    responses: {
      200: {
        description: 'In the order of their names.',
        schema: z.array(z.object({ name: z.string(), namespace: z.string() })),
      },
      ...refusals('deploy.disabled'),
    },
    handle: async ({ query }, context) => {
      const found = await secretsOf(context).list(namespaceOr(query.namespace, context.services));
      return found.toSorted((one, other) => one.name.localeCompare(other.name));
    },
  }),
  route({
    method: 'POST',
    path: '/system/secrets',
    auth: 'deploy',
    tag,
    summary: 'Keeps a secret for functions.',
    body: secretBody,
    bodyLimit: 2 * maxBytes,
    responses: { ...answers, ...refusals('request.conflict') },
    handle: async ({ body }, context) => {
      const secret = nameOf(body, context);
      if (await secretsOf(context).create(secret, valueOf(body))) return context.reply.code(202).send();
      throw new MillraceError('request.conflict', `secret ${textOf(secret)} is there already: PUT replaces it`);
    },
  }),
  route({
    method: 'PUT',
    path: '/system/secrets',
    auth: 'deploy',
    tag,
    summary: 'Gives a secret another value.',
    description: 'Functions that are running have the old one until they are started again, or read it again.',
    body: secretBody,
    bodyLimit: 2 * maxBytes,
    responses: { ...answers, ...refusals('secret.missing') },
    handle: async ({ body }, context) => {
      const secret = nameOf(body, context);
      if (await secretsOf(context).update(secret, valueOf(body))) return context.reply.code(202).send();
      throw missing(secret);
    },
  }),
  route({
    method: 'DELETE',
    path: '/system/secrets',
    auth: 'deploy',
    tag,
    summary: 'Removes a secret.',
    // go-sdk sends the whole secret, with an empty value.
    body: secretBody,
    responses: { ...answers, ...refusals('secret.missing') },
    handle: async ({ body }, context) => {
      const secret = nameOf(body, context);
      if (await secretsOf(context).remove(secret)) return context.reply.code(202).send();
      throw missing(secret);
    },
  }),
];

function secretsOf({ services }: RouteContext): FunctionSecrets {
  const secrets = services.secrets();
  if (secrets) return secrets;
  const text = 'no provider keeps secrets for the API: set providers.NAME.allowDeploy in the configuration';
  throw new MillraceError('deploy.disabled', text);
}

function nameOf(
  { name, namespace }: { readonly name: string; readonly namespace?: string | undefined },
  { services }: RouteContext,
): SecretName {
  return { name, namespace: namespaceOr(namespace, services) };
}

function valueOf({ value, rawValue }: z.output<typeof secretBody>): Uint8Array {
  const bytes = rawValue ? Buffer.from(rawValue, 'base64') : Buffer.from(value ?? '', 'utf8');
  if (bytes.length === 0) throw new MillraceError('request.invalid', 'value: is required (expected text)');
  if (bytes.length <= maxBytes) return bytes;
  throw new MillraceError('request.invalid', `value: expected at most ${maxBytes} bytes`);
}

function missing(secret: SecretName): MillraceError {
  return new MillraceError('secret.missing', `no secret ${textOf(secret)} exists`);
}

function textOf({ name, namespace }: SecretName): string {
  return `${name}.${namespace}`;
}
