import type { FastifyReply, FastifyRequest } from 'fastify';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Observable, type Subscriber } from 'rxjs';
import type { Connector, ConnectorHealth, Credit } from '../../core/contracts/connector.ts';
import type { ConnectorHost } from '../../core/contracts/definition.ts';
import { Delivery, type Settlement, type Verdict } from '../../core/contracts/delivery.ts';
import type { Body, Mode } from '../../core/contracts/invocation.ts';
import { preferOf } from '../../core/kit/headers.ts';
import { forwardedHeaders, limited } from './request.ts';
import { writeAccepted, writeOutcome, writeRefusal, writeResult } from './response.ts';

const methods = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'HEAD'] as const;
const otherMethods = ['GET', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'HEAD'] as const;

/**
 * The HTTP front door of functions: one parametric route a mode, whatever the number of functions. The answer is written
 * by the settlement, so nothing is said to a caller that the pipeline has not decided.
 */
export class HttpConnector implements Connector {
  readonly #host: ConnectorHost;
  readonly #limits: Readonly<Record<Mode, number>>;
  #out: Subscriber<Delivery> | undefined;
  #credit: Credit | undefined;

  constructor(config: { readonly maxBody?: number | undefined }, host: ConnectorHost) {
    this.#host = host;
    const body = config.maxBody ?? host.limits.body;
    this.#limits = { sync: body, async: Math.min(body, host.limits.asyncBody) };
  }

  async start(): Promise<void> {
    await this.#host.http.register(async (routes) => {
      // Everything happens in the first hook: what comes after it (parsing, validation) is for routes that Fastify
      // answers, and a body is the function's business.
      const never = (): void => undefined;
      const config = { auth: 'public' } as const;
      routes.route({
        method: [...methods],
        url: '/function/*',
        config,
        onRequest: (request, reply) => this.#handle(request, reply, '/function/', undefined),
        handler: never,
      });
      routes.route({
        method: 'POST',
        url: '/async-function/*',
        config,
        onRequest: (request, reply) => this.#handle(request, reply, '/async-function/', 'async'),
        handler: never,
      });
      routes.route({
        method: [...otherMethods],
        url: '/async-function/*',
        config,
        onRequest: (_request, reply) => void reply.code(405).header('allow', 'POST').send(),
        handler: never,
      });
    });
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

  /** Takes the reply out of Fastify's hands: the settlement writes the answer. */
  #handle(request: FastifyRequest, reply: FastifyReply, prefix: string, forced: Mode | undefined): void {
    reply.hijack();
    const { raw } = request;
    const response = reply.raw;
    const credit = this.#credit;
    if (!this.#out || !credit) {
      return writeRefusal(response, {
        code: 'gateway.stopping',
        message: 'the gateway is shutting down',
        retryAfterSeconds: 1,
      });
    }
    const length = raw.headers['content-length'];
    const limit = this.#limits[forced ?? 'sync'];
    if (length !== undefined && Number(length) > limit) {
      response.setHeader('connection', 'close'); // Nobody is going to read that body.
      return writeRefusal(response, {
        code: 'limit.body',
        message: `the body has ${length} bytes; the limit is ${limit}`,
      });
    }
    if (!credit.tryTake()) {
      const message = `the gateway has ${credit.limit} calls in flight, which is its limit`;
      return writeRefusal(response, { code: 'limit.in-flight', message, retryAfterSeconds: 1 });
    }
    const call = new HttpCall(raw, response, this.#host, limit);
    this.#out.next(call.delivery(targetOf(raw.url ?? '', prefix.length), length, forced));
  }
}

/** One call over HTTP, until it has been answered. One object, so that a call needs few closures. */
class HttpCall implements Settlement {
  readonly kind = 'replies';
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #host: ConnectorHost;
  readonly #limit: number;
  #tooLarge = false;

  constructor(request: IncomingMessage, response: ServerResponse, host: ConnectorHost, limit: number) {
    this.#request = request;
    this.#response = response;
    this.#host = host;
    this.#limit = limit;
  }

  delivery(target: Target, length: string | undefined, mode: Mode | undefined): Delivery {
    const request = this.#request;
    const response = this.#response;
    let body: Body = null;
    if (request.headers['transfer-encoding'] !== undefined) {
      body = limited(request, this.#limit, () => {
        this.#tooLarge = true;
        delivery.abort('client-gone');
      });
    } else if (length !== undefined && length !== '0') {
      body = request;
    }
    const delivery = new Delivery(
      this.#host.name,
      {
        function: target.name,
        method: request.method ?? 'GET',
        path: target.path,
        query: target.query,
        headers: forwardedHeaders(request),
        body,
        mode,
      },
      this,
    );
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

  #answer(verdict: Verdict, { invocation }: Delivery): void | Promise<void> {
    const response = this.#response;
    if (this.#tooLarge) {
      response.setHeader('connection', 'close');
      return writeRefusal(response, { code: 'limit.body', message: `the body is larger than ${this.#limit} bytes` });
    }
    if (response.destroyed) return;
    const { product } = this.#host;
    if (verdict.kind === 'accepted') {
      const prefer = preferOf(this.#request.headers as Record<string, string>);
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

interface Target {
  readonly name: string;
  readonly path: string;
  readonly query: string;
}

/** `/function/NAME/rest?query` → its parts, as the caller spelled them. By hand: URL() costs more than the stages. */
function targetOf(url: string, start: number): Target {
  const queryAt = url.indexOf('?', start);
  const end = queryAt === -1 ? url.length : queryAt;
  const slash = url.indexOf('/', start);
  const nameEnd = slash === -1 || slash > end ? end : slash;
  return { name: url.slice(start, nameEnd), path: url.slice(nameEnd, end), query: url.slice(end) };
}
