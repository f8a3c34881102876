import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  type Access,
  administrator,
  anonymous,
  isAllowed,
  refusal,
  serviceAccountUser,
  type User,
} from './fake-access.ts';
import { Definitions } from './fake-definitions.ts';
import { type DeleteOptions, Deletes } from './fake-deletes.ts';
import { discovery } from './fake-discovery.ts';
import { Faults } from './fake-faults.ts';
import {
  answer,
  answerError,
  answerFault,
  jsonBody,
  mediaType,
  metadataOf,
  methodNotAllowed,
  wantsMetadata,
} from './fake-http.ts';
import { listBody, Lists } from './fake-lists.ts';
import { isObject, type Json, type JsonObject, type KubeObject, keyOf, timeNow } from './fake-objects.ts';
import { type ApiPath, parsePath, verbOf } from './fake-requests.ts';
import { type Resource, serviceAccounts } from './fake-resources.ts';
import { asScale } from './fake-scale.ts';
import { fieldMatcher, labelMatcher, type Matcher } from './fake-selectors.ts';
import {
  ApiError,
  badRequest,
  forbidden,
  noRoute,
  notFound,
  unauthorized,
  unsupportedMediaType,
} from './fake-status.ts';
import { Store } from './fake-store.ts';
import { Watches } from './fake-watches.ts';
import { type Target, type WriteOptions, Writes, type Written } from './fake-writes.ts';

const jsonTypes = ['application/json', 'application/yaml', 'application/vnd.kubernetes.protobuf'];

/** Server-side apply is not among them: nothing here uses it. */
const patchTypes = new Set([
  'application/json-patch+json',
  'application/merge-patch+json',
  'application/strategic-merge-patch+json',
]);

/** Answers where the log of a pod is read; the pod is there. */
export type LogHandler = (pod: KubeObject, query: URLSearchParams, response: ServerResponse) => void;

/** One request on its way: who asks for what. */
interface Asked {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly query: URLSearchParams;
  readonly user: User;
  readonly path: ApiPath;
  readonly resource: Resource;
}

/** The API server of a fake cluster, as the handler of an HTTP server: every request is checked as the real one does. */
export class ApiServer {
  readonly store = new Store();
  readonly definitions = new Definitions(this.store);
  readonly deletes = new Deletes(this.store, this.definitions);
  readonly faults = new Faults();
  readonly watches: Watches;
  /** A token of the cluster's administrator. */
  readonly adminToken = `admin-${randomUUID()}`;
  /** Requests so far: `PATCH /apis/…`, the last ten thousand. */
  readonly requests: string[] = [];
  readonly #writes = new Writes(this.store, this.definitions);
  readonly #lists = new Lists(this.store);
  readonly #users = new Map<string, User>([[this.adminToken, administrator]]);
  readonly #logs: LogHandler;

  constructor(bookmarkMs: number, logs: LogHandler) {
    this.watches = new Watches(this.store, bookmarkMs);
    this.#logs = logs;
  }

  /** Forgets what has changed so far: watches and pages from before are told 410. */
  compact(): void {
    this.store.compact();
    this.#lists.forget();
  }

  /** A token of a service account, whose rights are those of the roles that are bound to it. */
  tokenOf(namespace: string, account: string): string {
    const token = `sa-${randomUUID()}`;
    this.#users.set(token, serviceAccountUser(namespace, account));
    return token;
  }

  /** The token is not accepted from now on, as when it has run out. */
  revoke(token: string): void {
    this.#users.delete(token);
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'GET', url = '/' } = request;
    this.requests.push(`${method} ${url}`);
    if (this.requests.length > 10_000) this.requests.shift();
    try {
      const fault = await this.faults.meet(method, url);
      if (fault) answerFault(response, fault);
      else await this.#route(request, response);
    } catch (error) {
      if (response.headersSent) response.destroy();
      else answerError(response, error);
    }
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'GET' } = request;
    const url = new URL(request.url ?? '/', 'http://fake');
    const user = this.#userOf(request);
    if (/^\/(?:healthz|readyz|livez)$/.test(url.pathname)) {
      response.end('ok');
      return;
    }
    const path = parsePath(url.pathname, this.definitions);
    if (!path) {
      const found = discovery(url.pathname, this.definitions);
      if (!found) response.writeHead(404, { 'content-type': 'text/plain' }).end('404 page not found\n');
      else answer(response, 200, found);
      return;
    }
    if (path.group === 'authorization.k8s.io' && path.plural === 'selfsubjectaccessreviews' && method === 'POST') {
      answer(response, 201, this.#review(user, await jsonBody(request)));
      return;
    }
    const watch = ['1', 'true'].includes(url.searchParams.get('watch') ?? '');
    this.#authorize(user, method, path, watch);
    const { resource } = path;
    if (!resource) {
      const known = this.definitions
        .all()
        .some(({ group, version }) => group === path.group && version === path.version);
      if (known) throw noRoute();
      response.writeHead(404, { 'content-type': 'text/plain' }).end('404 page not found\n');
      return;
    }
    await this.#serve({ request, response, query: url.searchParams, user, path, resource }, watch);
  }

  #userOf({ headers }: IncomingMessage): User {
    const [, token] = /^Bearer (.*)$/.exec(headers.authorization ?? '') ?? [];
    if (token === undefined) return anonymous;
    const user = this.#users.get(token);
    if (!user) throw unauthorized();
    return user;
  }

  #authorize(user: User, method: string, path: ApiPath, watch: boolean): void {
    const { group, plural, subresource, name } = path;
    const verb = verbOf(method, path, watch);
    if (verb === undefined) throw methodNotAllowed();
    // A namespace is in itself, as far as access goes.
    const namespace = path.plural === 'namespaces' && name !== undefined ? name : path.namespace;
    const resource = subresource === undefined ? plural : `${plural}/${subresource}`;
    const access: Access = { verb, group, resource, namespace, name };
    if (!isAllowed(this.store, user, access)) throw forbidden({ group, plural }, name ?? '', refusal(user, access));
  }

  #review(user: User, body: Json): JsonObject {
    const asked = ((isObject(body) ? body['spec'] : undefined) ?? {}) as JsonObject;
    const {
      namespace,
      verb = '',
      group = '',
      resource = '',
      subresource,
      name,
    } = (asked['resourceAttributes'] ?? {}) as Record<string, string>;
    const full = subresource === undefined || subresource === '' ? resource : `${resource}/${subresource}`;
    const within = namespace === '' ? undefined : namespace;
    const allowed = isAllowed(this.store, user, { verb, group, resource: full, namespace: within, name });
    return {
      kind: 'SelfSubjectAccessReview',
      apiVersion: 'authorization.k8s.io/v1',
      metadata: {},
      spec: asked,
      status: { allowed },
    };
  }

  async #serve(asked: Asked, watch: boolean): Promise<void> {
    const { path, resource, request } = asked;
    const { subresource, name } = path;
    if (subresource !== undefined && !resource.subresources.includes(subresource)) throw noRoute();
    switch (request.method) {
      case 'HEAD':
      case 'GET':
        if (watch) this.#watch(asked);
        else if (name === undefined) this.#list(asked);
        else this.#get(asked, name);
        return;
      case 'POST':
        if (subresource === 'token') answer(asked.response, 201, this.#token(asked));
        else if (name !== undefined) throw methodNotAllowed();
        else await this.#write(asked, (target, body, options) => this.#writes.create(target, body, options));
        return;
      case 'PUT':
        if (name === undefined) throw methodNotAllowed();
        await this.#write(asked, (target, body, options) => this.#writes.update(target, body, options));
        return;
      case 'PATCH':
        if (name === undefined) throw methodNotAllowed();
        await this.#patch(asked);
        return;
      case 'DELETE':
        await this.#delete(asked);
        return;
    }
    throw methodNotAllowed();
  }

  #get({ resource, path, response, request, query }: Asked, name: string): void {
    const object = this.store.get(
      resource,
      keyOf({ name, ...(path.namespace !== undefined && { namespace: path.namespace }) }),
    );
    if (!object) throw notFound(resource, name);
    if (path.subresource === 'log') this.#logs(object, query, response);
    else if (path.subresource === 'scale') answer(response, 200, asScale(object));
    else answer(response, 200, wantsMetadata(request) ? metadataOf(object) : object);
  }

  #list({ resource, path, query, response, request }: Asked): void {
    const version = query.get('resourceVersion') ?? undefined;
    const token = query.get('continue') ?? undefined;
    const limit = Number(query.get('limit') ?? 0);
    const matches = matcherOf(path, query);
    const page = this.#lists.page({ resource, namespace: path.namespace, matches, limit, continue: token, version });
    if (!wantsMetadata(request)) {
      answer(response, 200, listBody(resource, page));
      return;
    }
    const { metadata } = page;
    // Of nothing there is null here, and an empty list elsewhere.
    const items = page.items.length === 0 ? null : page.items.map(metadataOf);
    answer(response, 200, { kind: 'PartialObjectMetadataList', apiVersion: 'meta.k8s.io/v1', metadata, items });
  }

  #watch({ resource, path, query, response, request }: Asked): void {
    const version = query.get('resourceVersion') ?? undefined;
    if (version !== undefined && !/^\d*$/.test(version)) {
      const quoted = JSON.stringify(version);
      throw new ApiError(
        500,
        '',
        `resourceVersion: Invalid value: ${quoted}: strconv.ParseUint: parsing ${quoted}: invalid syntax`,
      );
    }
    const is = (name: string): boolean => ['1', 'true'].includes(query.get(name) ?? '');
    this.watches.open(
      {
        resource,
        namespace: path.namespace,
        matches: matcherOf(path, query),
        version: is('sendInitialEvents') ? undefined : version,
        bookmarks: is('allowWatchBookmarks'),
        initial: is('sendInitialEvents'),
        timeoutSeconds: Number(query.get('timeoutSeconds') ?? 1800),
        present: wantsMetadata(request) ? metadataOf : (object) => object,
      },
      response,
    );
  }

  async #write(asked: Asked, how: (target: Target, body: JsonObject, options: WriteOptions) => Written): Promise<void> {
    const { request, resource } = asked;
    const type = mediaType(request);
    if (type !== '' && type !== 'application/json' && type !== 'application/yaml') {
      throw unsupportedMediaType(jsonTypes);
    }
    const body = await jsonBody(request, resource.kind, type === 'application/yaml');
    if (!isObject(body)) throw badRequest(`the object provided is unrecognized (must be of type ${resource.kind})`);
    this.#answerWritten(asked, how(targetOf(asked), body, optionsOf(asked)));
  }

  async #patch(asked: Asked): Promise<void> {
    const type = mediaType(asked.request);
    if (!patchTypes.has(type)) throw new ApiError(415, 'UnsupportedMediaType', '415: Unsupported Media Type', {});
    const body = await jsonBody(asked.request, asked.resource.kind);
    this.#answerWritten(asked, this.#writes.patch(targetOf(asked), body, type, optionsOf(asked)));
  }

  #answerWritten({ response, request }: Asked, { object, created, warnings }: Written): void {
    if (warnings.length > 0)
      response.setHeader(
        'warning',
        warnings.map((one) => `299 - ${JSON.stringify(one)}`),
      );
    answer(response, created ? 201 : 200, wantsMetadata(request) ? metadataOf(object) : object);
  }

  async #delete(asked: Asked): Promise<void> {
    const { resource, path, query, request, response } = asked;
    const body = await jsonBody(request);
    const given = (isObject(body) ? body : {}) as {
      readonly propagationPolicy?: DeleteOptions['propagation'];
      readonly gracePeriodSeconds?: number;
      readonly preconditions?: DeleteOptions['preconditions'];
      readonly dryRun?: readonly string[];
    };
    const grace =
      given.gracePeriodSeconds ??
      (query.has('gracePeriodSeconds') ? Number(query.get('gracePeriodSeconds')) : undefined);
    const options: DeleteOptions = {
      dryRun: query.get('dryRun') === 'All' || (given.dryRun?.includes('All') ?? false),
      propagation:
        given.propagationPolicy ??
        (query.get('propagationPolicy') as DeleteOptions['propagation'] | null) ??
        'Background',
      gracePeriodSeconds: grace,
      preconditions: given.preconditions,
    };
    if (path.name !== undefined) {
      answer(response, 200, this.deletes.delete(resource, path.namespace, path.name, options));
      return;
    }
    const items = this.store.list(resource, path.namespace).filter(matcherOf(path, query));
    for (const { metadata } of items) this.deletes.delete(resource, metadata.namespace, metadata.name, options);
    answer(response, 200, listBody(resource, { items, metadata: { resourceVersion: String(this.store.version) } }));
  }

  #token({ path }: Asked): JsonObject {
    const { namespace = '', name = '' } = path;
    if (!this.store.get(serviceAccounts, `${namespace}/${name}`)) throw notFound(serviceAccounts, name);
    const status = { token: this.tokenOf(namespace, name), expirationTimestamp: timeNow() };
    return { kind: 'TokenRequest', apiVersion: 'authentication.k8s.io/v1', metadata: { name, namespace }, status };
  }
}

function targetOf({ resource, path: { namespace, name = '', subresource } }: Asked): Target {
  return { resource, namespace, name, subresource };
}

function optionsOf({ query, request }: Asked): WriteOptions {
  const [agent = 'unknown'] = (request.headers['user-agent'] ?? 'unknown').split('/');
  const validation = query.get('fieldValidation');
  if (validation !== null && !['Strict', 'Warn', 'Ignore'].includes(validation)) {
    throw badRequest(`fieldValidation: Unsupported value: ${JSON.stringify(validation)}`);
  }
  return {
    dryRun: query.get('dryRun') === 'All',
    manager: query.get('fieldManager') ?? agent,
    fieldValidation: (validation ?? 'Warn') as WriteOptions['fieldValidation'],
  };
}

function matcherOf({ name, plural }: ApiPath, query: URLSearchParams): Matcher {
  const label = query.get('labelSelector');
  const field = query.get('fieldSelector');
  const matchers = [
    ...(label === null ? [] : [labelMatcher(label)]),
    ...(field === null ? [] : [fieldMatcher(field, plural)]),
    ...(name === undefined ? [] : [fieldMatcher(`metadata.name=${name}`, plural)]),
  ];
  return (object) => matchers.every((matches) => matches(object));
}
