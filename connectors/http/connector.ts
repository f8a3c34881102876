import type { IncomingMessage, ServerResponse } from 'node:http';
import type { BlockList } from 'node:net';
import { Observable, type Subscriber } from '../../core/kit/rxjs.ts';
import type { Connector, ConnectorHealth, Credit } from '../../core/contracts/connector.ts';
import type { ConnectorHost } from '../../core/contracts/definition.ts';
import { Delivery, type DeliveryOptions, type Settlement, type Verdict } from '../../core/contracts/delivery.ts';
import { MillraceError } from '../../core/contracts/errors.ts';
import type { Body, Mode } from '../../core/contracts/invocation.ts';
import type { PathParameters, Routes } from '../../core/contracts/route.ts';
import { hasBody, isStream, readAll } from '../../core/kit/body.ts';
import { preferOf } from '../../core/kit/headers.ts';
import { type Refusal, stopping } from '../../core/kit/outcome.ts';
import { type HttpConfig, type RouteConfig, trustedOf, type VerifyConfig } from './config.ts';
import { forwardedHeaders, limited, targetOf } from './request.ts';
import { writeAccepted, writeOutcome, writeRefusal, writeResult } from './response.ts';
import { verify } from './verify.ts';

const methods = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'HEAD'] as const;
const otherMethods = ['GET', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'HEAD'] as const;

/** What a caller may ask of the gateway. Where the body must be signed these are not, and decide nothing. */
const asking = [
  'idempotency-key',
  'prefer',
  'x-call-depth',
  'x-callback-url',
  'x-delay',
  'x-invoke-mode',
  'x-max-age',
  'x-order-key',
  'x-priority',
  'x-timeout',
];

/**
 * The HTTP front door of functions: one parametric route a mode, whatever the number of functions, and the routes of the
 * configuration. The answer is written by the settlement, so nothing is said to a caller that the pipeline has not
 * decided.
 */
export class HttpConnector implements Connector {
  readonly #config: HttpConfig;
  readonly #host: ConnectorHost;
  readonly #limits: Readonly<Record<Mode, number>>;
  readonly #trusted: BlockList;
  readonly #unsigned;
  #out: Subscriber<Delivery> | undefined;
  #credit: Credit | undefined;

  constructor(config: HttpConfig, host: ConnectorHost) {
    this.#config = config;
    this.#host = host;
    const body = config.maxBody ?? host.limits.body;
    this.#trusted = trustedOf(config);
    this.#limits = { sync: body, async: Math.min(body, host.limits.asyncBody) };
    this.#unsigned = host.metrics.counter('unsigned_total', 'Requests refused because their signature did not hold.');
  }

  async start(): Promise<void> {
    const { http } = this.#host;
    if (this.#config.functions) this.#addFunctions(http);
    for (const route of this.#config.routes) this.#add(http, route);
  }

  deliveries(credit: Credit): Observable<Delivery> {
    return new Observable((subscriber) => {
      this.#out = subscriber;
      this.#credit = credit;
      return () => {
        this.#out = undefined;
      };
    });
  }

  health(): ConnectorHealth {
    return { state: this.#out ? 'running' : 'stopped', reconnects: 0 };
  }

  async stop(): Promise<void> {
    this.#out = undefined;
  }

  #addFunctions(routes: Routes): void {
    routes.add({
      methods,
      path: '/function/*',
      auth: 'function',
      handle: (request, response) => this.#handle(request, response, '/function/', undefined),
    });
    routes.add({
      methods: ['POST'],
      path: '/async-function/*',
      auth: 'function',
      handle: (request, response) => this.#handle(request, response, '/async-function/', 'async'),
    });
    routes.add({
      methods: otherMethods,
      path: '/async-function/*',
      auth: 'function',
      handle: (_request, response) => void response.writeHead(405, { allow: 'POST', 'content-length': '0' }).end(),
    });
  }

  #add(routes: Routes, route: RouteConfig): void {
    routes.add({
      methods: route.methods,
      path: route.path,
      auth: 'function',
      handle: (request, response, parameters) => this.#handleRoute(route, request, response, parameters),
    });
  }

  #handleRoute(
    route: RouteConfig,
    request: IncomingMessage,
    response: ServerResponse,
    parameters: PathParameters,
  ): void {
    const mode = route.mode ?? (route.verify ? 'async' : undefined);
    const call = this.#admit(request, response, mode);
    if (!call) return;
    const headers = forwardedHeaders(request, this.#trusted);
    for (const name of Object.keys(headers)) if (/^x[-_]param[-_]/.test(name)) delete headers[name];
    for (const [name, value] of Object.entries(parameters)) {
      headers[`x-param-${name.toLowerCase()}`] = encodeURIComponent(value);
    }
    headers['x-connector'] = 'http';
    headers['x-topic'] = route.path;
    const target = targetOf(request.url ?? '', 0);
    const asked = { function: route.function, path: target.whole, query: target.query, mode };
    if (route.verify) void this.#signed(call, { ...asked, headers }, route.verify);
    else this.#out?.next(call.delivery({ ...asked, headers, body: call.body() }));
  }

  /** Runs it only if it is signed. */
  async #signed(call: HttpCall, asked: Omit<Asked, 'body'>, config: VerifyConfig): Promise<void> {
    let body: Uint8Array;
    try {
      body = await call.whole();
    } catch (error) {
      this.#credit?.giveBack();
      return call.refuse(error instanceof MillraceError ? error : endedEarly);
    }
    const verified = verify(config, asked.headers, body, this.#host.clock.now());
    if (!verified.ok) {
      this.#credit?.giveBack();
      this.#unsigned.inc();
      const topic = asked.headers['x-topic'];
      this.#host.logger.warn({ route: topic, reason: verified.reason }, 'a request is not signed as it must be');
      return call.refuse({ code: 'request.unauthorized', message: 'the signature does not hold' });
    }
    if (!this.#out) {
      this.#credit?.giveBack();
      return call.refuse(stopping);
    }
    for (const name of asking) delete asked.headers[name];
    const dedupWindowMs = config.replayWindow ?? (config.scheme === 'hmac' ? 0 : 86_400_000);
    const options =
      dedupWindowMs > 0
        ? { dedupKey: `webhook:${this.#host.name}:${String(asked.headers['x-topic'])}:${verified.key}`, dedupWindowMs }
        : undefined;
    // The signature says who it is: functions that ask callers, or take none, take this.
    this.#out.next(call.delivery({ ...asked, body: body.byteLength === 0 ? null : body, options, isEvent: true }));
  }

  #handle(request: IncomingMessage, response: ServerResponse, prefix: string, forced: Mode | undefined): void {
    const call = this.#admit(request, response, forced);
    if (!call) return;
    const { name, path, query } = targetOf(request.url ?? '', prefix.length);
    const headers = forwardedHeaders(request, this.#trusted);
    this.#out?.next(call.delivery({ function: name, path, query, headers, body: call.body(), mode: forced }));
  }

  /** With its credit taken; undefined when it has been refused. */
  #admit(request: IncomingMessage, response: ServerResponse, mode: Mode | undefined): HttpCall | undefined {
    const credit = this.#credit;
    if (!this.#out || !credit) {
      writeRefusal(response, stopping);
      return undefined;
    }
    const length = request.headers['content-length'];
    const limit = this.#limits[mode ?? 'sync'];
    if (length !== undefined && Number(length) > limit) {
      response.setHeader('connection', 'close'); // Nobody is going to read that body.
      writeRefusal(response, { code: 'limit.body', message: `the body has ${length} bytes; the limit is ${limit}` });
      return undefined;
    }
    if (!credit.tryTake()) {
      const message = `the gateway has ${credit.limit} calls in flight, which is its limit`;
      writeRefusal(response, { code: 'limit.in-flight', message, retryAfterSeconds: 1 });
      return undefined;
    }
    return new HttpCall(request, response, this.#host, limit);
  }
}

const endedEarly: Refusal = { code: 'request.invalid', message: 'the body ended too early' };

/** What is asked of the pipeline; the method is the request's. */
interface Asked {
  readonly function: string;
  readonly path: string;
  readonly query: string;
  readonly headers: Record<string, string | string[]>;
  readonly body: Body;
  readonly mode: Mode | undefined;
  readonly options?: DeliveryOptions | undefined;
  readonly isEvent?: boolean;
}

/** One call over HTTP, until it has been answered. One object, so that a call needs few closures. */
class HttpCall implements Settlement {
  readonly kind = 'replies';
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #host: ConnectorHost;
  readonly #limit: number;
  #delivery: Delivery | undefined;
  #tooLarge = false;

  constructor(request: IncomingMessage, response: ServerResponse, host: ConnectorHost, limit: number) {
    this.#request = request;
    this.#response = response;
    this.#host = host;
    this.#limit = limit;
  }

  /** As a stream, or none. */
  body(): Body {
    const request = this.#request;
    if (request.headers['transfer-encoding'] !== undefined) {
      return limited(request, this.#limit, () => {
        this.#tooLarge = true;
        this.#delivery?.abort('client-gone');
      });
    }
    return hasBody(request) ? request : null;
  }

  /** All of it; rejects when it is too large, or the caller breaks off. */
  whole(): Promise<Uint8Array> {
    return readAll(this.#request, this.#limit, () => {
      this.#response.setHeader('connection', 'close');
      return new MillraceError('limit.body', `the body is larger than ${this.#limit} bytes`);
    });
  }

  refuse(refusal: Refusal): void {
    if (!this.#response.destroyed) writeRefusal(this.#response, refusal);
  }

  delivery(asked: Asked): Delivery {
    const delivery = new Delivery(this.#host.name, { method: this.#request.method ?? 'GET', ...asked }, this);
    this.#delivery = delivery;
    const response = this.#response;
    response.on('close', () => {
      if (!response.writableFinished) delivery.abort('client-gone');
    });
    return delivery;
  }

  /** Whatever goes wrong while the answer is written, the caller is not left waiting. */
  settle(verdict: Verdict, delivery: Delivery): void | Promise<void> {
    try {
      const answering = this.#answer(verdict, delivery);
      return answering?.catch((error: unknown) => this.#breakOff(error));
    } catch (error) {
      this.#breakOff(error);
    }
  }

  #breakOff(error: unknown): never {
    const response = this.#response;
    if (response.headersSent) response.destroy();
    else writeRefusal(response, { code: 'internal', message: 'the answer could not be written' });
    throw error;
  }

  #answer(verdict: Verdict, { invocation, request }: Delivery): void | Promise<void> {
    const response = this.#response;
    if (this.#tooLarge) {
      response.setHeader('connection', 'close');
      return writeRefusal(response, { code: 'limit.body', message: `the body is larger than ${this.#limit} bytes` });
    }
    // The caller has gone, or has been answered. A stream that nobody reads would go on until its deadline.
    if (response.destroyed || response.headersSent) {
      if (verdict.kind === 'done' && isStream(verdict.outcome.body)) verdict.outcome.body.destroy();
      return;
    }
    const { product } = this.#host;
    if (verdict.kind === 'accepted') {
      const prefer = preferOf(request.headers);
      if (prefer && prefer.waitMs > 0) return this.#awaited(verdict, prefer.waitMs);
      if (prefer) response.setHeader('preference-applied', 'respond-async');
      return writeAccepted(response, verdict.accepted, product);
    }
    // A verdict for a caller is `accepted` or `done`; the others are for sources that can take a message back.
    return writeOutcome(response, verdict.outcome, this.#request, invocation, product);
  }

  /** `Prefer: respond-async, wait=N`: the answer itself if it is there in time, 202 otherwise. */
  async #awaited({ accepted }: Extract<Verdict, { kind: 'accepted' }>, waitMs: number): Promise<void> {
    const response = this.#response;
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    response.setHeader('preference-applied', `respond-async, wait=${waitMs / 1000}`);
    const record = await this.#host.invocations.finished(accepted.id, waitMs, gone.signal);
    if (response.destroyed) return;
    if (record?.result && record.result !== 'expired')
      writeResult(response, record.result, accepted, this.#host.product);
    else writeAccepted(response, accepted, this.#host.product);
  }
}
