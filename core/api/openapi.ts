import { STATUS_CODES } from '../kit/http.ts';
import { z } from 'zod';
import type { RouteAuth, Scope } from '../contracts/route.ts';
import { version } from '../version.ts';
import { isScoped } from './route-auth.ts';
import type { ApiRoute, ResponseDocument } from './route.ts';

type Json = Record<string, unknown>;

/** The OpenAPI 3.1 document of the routes that the table holds: the same schemas that validate their input. */
export function openApiOf(routes: readonly ApiRoute[]): Json {
  const paths: Record<string, Json> = {};
  for (const entry of routes) {
    paths[entry.path] = { ...paths[entry.path], [entry.method.toLowerCase()]: operationOf(entry) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Millrace',
      version,
      description: 'Results and cancellation of invocations, and the management of queues, dead letters and functions.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    paths,
    components: {
      securitySchemes: {
        basic: { type: 'http', scheme: 'basic', description: 'May do everything.' },
        token: {
          type: 'http',
          scheme: 'bearer',
          description:
            'An API token, or a JSON Web Token of an issuer that the gateway knows; with one of the scopes named.',
        },
      },
    },
  };
}

function operationOf(entry: ApiRoute): Json {
  const { method, path, auth, tag, summary, description, params, query, body, responses } = entry;
  const guarded = isScoped(auth);
  const answers = Object.entries(responses).map(
    ([status, response]) => [status, responseOf(status, response)] as const,
  );
  return {
    operationId: `${method.toLowerCase()}${path.replaceAll(/[{}]/g, '').replaceAll(/[^A-Za-z0-9]+(.)/g, (_all, next: string) => next.toUpperCase())}`,
    tags: [tag],
    summary,
    ...(description !== undefined && { description }),
    security: securityOf(auth),
    parameters: [...parametersOf('path', params), ...parametersOf('query', query)],
    ...(body && {
      requestBody: {
        required: !body.safeParse(undefined).success,
        content: { 'application/json': { schema: schemaOf(body, 'input') } },
      },
    }),
    responses: {
      ...Object.fromEntries(answers),
      ...(auth !== 'public' && { 401: { description: 'Credentials are missing or wrong.' } }),
      ...(guarded && { 403: { description: 'The credentials are good, and do not allow it.' } }),
    },
  };
}

/** An empty requirement: none is needed where the gateway has no credentials, or the function is public. */
function securityOf(auth: RouteAuth): Json[] {
  if (auth === 'public') return [];
  const wanted: readonly Scope[] = isScoped(auth) ? [auth].flat() : ['invoke', 'operate'];
  return [{ basic: [] }, ...wanted.map((scope) => ({ token: [scope] })), {}];
}

function parametersOf(place: 'path' | 'query', schema: z.ZodObject | undefined): Json[] {
  if (!schema) return [];
  const { properties = {}, required = [] } = schemaOf(schema, 'input') as {
    properties?: Record<string, Json>;
    required?: string[];
  };
  return Object.entries(properties).map(([name, property]) => {
    const { description, ...rest } = property;
    return {
      name,
      in: place,
      required: place === 'path' || required.includes(name),
      ...(description !== undefined && { description }),
      schema: rest,
    };
  });
}

function responseOf(status: string, { description, schema, mediaType }: ResponseDocument): Json {
  const type = mediaType ?? (schema ? 'application/json' : undefined);
  return {
    description: description || STATUS_CODES[status],
    ...(type !== undefined && { content: { [type]: schema ? { schema: schemaOf(schema, 'output') } : {} } }),
  };
}

function schemaOf(schema: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, {
    io,
    target: 'draft-2020-12',
    unrepresentable: 'any',
  });
  return rest;
}
