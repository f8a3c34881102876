import type { IncomingMessage, ServerResponse } from 'node:http';
import { parse } from 'node:querystring';
import { z } from 'zod';
import { MillraceError } from '../contracts/errors.ts';
import type { PathParameters, RouteAuth } from '../contracts/route.ts';
import { readJson } from './json-body.ts';
import { Reply } from './reply.ts';
import { isScoped, reachOfRequest } from './route-auth.ts';
import type { PublicServer } from './server.ts';
import type { ManagementServices } from './services.ts';
import { servicesWithin } from './within.ts';

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';
type Parts = z.ZodObject | z.ZodType<undefined>;

/** What a documented answer is: JSON of a schema, or another media type. */
export interface ResponseDocument {
  readonly description: string;
  readonly schema?: z.ZodType;
  readonly mediaType?: string;
}

/** What a handler may use beside its input. */
export interface RouteContext {
  /** As far as the caller may see: see `servicesWithin`. Of routes that ask for no scope, all of them. */
  readonly services: ManagementServices;
  readonly request: IncomingMessage;
  readonly reply: Reply;
  /** Aborts when the caller has gone or the listener closes: nothing is worth waiting for then. */
  readonly gone: () => AbortSignal;
}

/** One route: what registers it, validates its input and documents it. */
export interface ApiRoute {
  readonly method: Method;
  /** As OpenAPI writes it: `/invocations/{id}`. */
  readonly path: string;
  readonly auth: RouteAuth;
  readonly tag: string;
  readonly summary: string;
  readonly description?: string | undefined;
  readonly params: z.ZodObject | undefined;
  readonly query: z.ZodObject | undefined;
  readonly body: z.ZodType | undefined;
  readonly bodyLimit: number | undefined;
  readonly responses: Readonly<Record<number, ResponseDocument>>;
  handle(input: unknown, context: RouteContext): unknown;
}

interface RouteDefinition<Params extends Parts, Query extends Parts, RequestBody extends z.ZodType> {
  readonly method: Method;
  readonly path: string;
  readonly auth: RouteAuth;
  readonly tag: string;
  readonly summary: string;
  readonly description?: string;
  readonly params?: Params;
  readonly query?: Query;
  /** May be left out by the caller when it takes `undefined`. */
  readonly body?: RequestBody;
  readonly bodyLimit?: number;
  readonly responses: Readonly<Record<number, ResponseDocument>>;
  /** What it returns is sent as JSON, unless it is the reply, which then has its answer already. */
  handle(
    input: {
      readonly params: z.output<Params>;
      readonly query: z.output<Query>;
      readonly body: z.output<RequestBody>;
    },
    context: RouteContext,
  ): unknown;
}

/** Infers what `handle` gets from the schemas, then forgets it: the table holds routes of every kind. */
export function route<
  Params extends Parts = z.ZodType<undefined>,
  Query extends Parts = z.ZodType<undefined>,
  RequestBody extends z.ZodType = z.ZodType<undefined>,
>(definition: RouteDefinition<Params, Query, RequestBody>): ApiRoute {
  return { params: undefined, query: undefined, body: undefined, bodyLimit: undefined, ...definition } as ApiRoute;
}

/** Adds the routes of the table to the listener. */
export function addRoutes(server: PublicServer, routes: readonly ApiRoute[], services: ManagementServices): void {
  for (const entry of routes) {
    server.api.add({
      methods: [entry.method],
      path: entry.path.replaceAll(/\{(\w+)\}/g, ':$1'),
      auth: entry.auth,
      handle: async (request, response, parameters) => {
        const reply = new Reply(response);
        const body = await bodyOf(request, response, entry.bodyLimit ?? server.bodyLimit);
        const answer = await entry.handle(inputOf(entry, request, parameters, body), {
          services: isScoped(entry.auth) ? servicesWithin(reachOfRequest(request), services) : services,
          request,
          reply,
          gone: () => goneSignal(response, server.closing),
        });
        if (answer !== reply) reply.send(answer);
      },
    });
  }
}

/** A body that is not wanted is not waited for either: with it the connection ends. */
async function bodyOf(request: IncomingMessage, response: ServerResponse, maxBytes: number): Promise<unknown> {
  if (request.method === 'GET') return undefined;
  try {
    return await readJson(request, maxBytes);
  } catch (error) {
    response.setHeader('connection', 'close');
    throw error;
  }
}

function inputOf(entry: ApiRoute, request: IncomingMessage, parameters: PathParameters, body: unknown): unknown {
  const { url = '' } = request;
  const queryAt = url.search(/[?#]/); // Where the router ends the path, so that both read a target alike.
  return {
    params: parsePart('path', entry.params, parameters),
    // Without a schema there is nothing to ask for, and a misspelt filter must not be a missing one.
    query: parsePart('query', entry.query ?? noQuery, queryAt === -1 ? {} : parse(url.slice(queryAt + 1))),
    body: entry.body ? parsePart('body', entry.body, body) : undefined,
  };
}

const noQuery = z.strictObject({});

function parsePart(part: string, schema: z.ZodType | undefined, value: unknown): unknown {
  if (!schema) return undefined;
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = [part, ...(issue?.path ?? [])].map((step) => String(step).slice(0, 60)).join('.');
  throw new MillraceError('request.invalid', `${where}: ${issue?.message ?? 'invalid'}`.slice(0, 300));
}

/** Long polls and event streams would otherwise hold the listener open until the drain deadline. */
function goneSignal(response: ServerResponse, closing: AbortSignal): AbortSignal {
  const gone = new AbortController();
  const abort = (): void => gone.abort();
  response.once('close', abort);
  closing.addEventListener('abort', abort, { once: true, signal: gone.signal });
  if (response.destroyed || closing.aborted) abort();
  return gone.signal;
}
