import { z } from 'zod';
import { deploymentOf, deploymentSchema, namespaceName } from '../config/deployments.ts';
import { MillraceError } from '../contracts/errors.ts';
import { deployedFunction, qualified } from './names.ts';
import { type ApiRoute, route } from './route.ts';
import { functionName, namespaceText, refusals } from './schemas.ts';

const tag = 'functions';
const done = { description: 'Done.' };
/** Nobody has a function of more; the least that a replica takes is a process. */
const maxReplicas = 1000;
const deployRefusals = refusals('request.invalid', 'deploy.disabled', 'request.conflict', 'store.unavailable');

const alertBody = z.object({
  alerts: z.array(
    z.object({
      status: z.string(),
      labels: z.object({ alertname: z.string().optional(), function_name: functionName }),
    }),
  ),
});

/** What changes functions. As OpenFaaS has it, where clients depend on that. */
export const deploymentRoutes: readonly ApiRoute[] = [
  ...(['POST', 'PUT'] as const).map((method) =>
    route({
      method,
      path: '/system/functions',
      auth: 'deploy',
      tag,
      summary: method === 'POST' ? 'Deploys a function.' : 'Deploys a function that is there otherwise.',
      description: 'Resolves when it is kept and its provider has taken it. Needs a provider with `allowDeploy`.',
      body: deploymentSchema,
      responses: {
        202: done,
        ...deployRefusals,
        ...(method === 'PUT' && refusals('function.missing')),
      },
      handle: async ({ body }, { services, reply }) => {
        const deployment = deploymentOf(body, services.namespace);
        await services.deployments.deploy(deployment, method === 'POST' ? 'create' : 'update');
        return reply.code(202).send();
      },
    }),
  ),
  route({
    method: 'DELETE',
    path: '/system/functions',
    auth: 'deploy',
    tag,
    summary: 'Removes a function that was deployed through the API.',
    description: 'What runs may finish; what is queued for it stays, and runs when it is deployed again.',
    query: z.strictObject({ namespace: namespaceText }),
    body: z.looseObject({ functionName, namespace: namespaceName }),
    responses: { 202: done, ...deployRefusals, ...refusals('function.missing') },
    handle: async ({ query, body }, { services, reply }) => {
      const namespace = body.namespace || query.namespace;
      const name = namespace ? `${body.functionName}.${namespace}` : qualified(body.functionName, services);
      await services.deployments.remove(name);
      return reply.code(202).send();
    },
  }),
  route({
    method: 'POST',
    path: '/system/scale-function/{name}',
    auth: 'deploy',
    tag,
    summary: 'Asks for so many replicas of a function.',
    params: z.strictObject({ name: functionName }),
    query: z.strictObject({ namespace: namespaceText }),
    body: z.looseObject({
      serviceName: z.string().optional(),
      namespace: namespaceName,
      replicas: z.int().min(0).max(maxReplicas),
    }),
    responses: { 202: done, ...refusals('request.invalid', 'request.conflict', 'function.missing') },
    handle: async ({ params, query, body }, { services, reply }) => {
      const { name } = deployedFunction(params.name, body.namespace || query.namespace, services);
      await services.scale(name, body.replicas);
      return reply.code(202).send();
    },
  }),
  route({
    method: 'POST',
    path: '/system/alert',
    auth: 'deploy',
    tag,
    summary: 'Alerts of AlertManager: firing scales a function up, resolved to its least.',
    body: alertBody,
    responses: { 200: done, ...refusals('request.invalid', 'function.missing') },
    handle: async ({ body }, { services, reply }) => {
      const problems: string[] = [];
      for (const [index, { status, labels }] of body.alerts.entries()) {
        try {
          await services.alert(deployedFunction(labels.function_name, undefined, services).name, status === 'firing');
        } catch (error) {
          if (!(error instanceof MillraceError)) throw error;
          problems.push(`[${index}] ${error.message}`);
        }
      }
      if (problems.length === 0) return reply.code(200).send();
      throw new MillraceError('request.invalid', problems.join('\n'));
    },
  }),
];
