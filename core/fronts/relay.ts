import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http';
import { Agent, request as ask } from '../kit/http.ts';
import { pipeline } from 'node:stream';
import type { Logger } from 'pino';
import { replyWithError } from '../api/error-reply.ts';
import { MillraceError } from '../contracts/errors.ts';
import { passedTarget } from '../kit/caller.ts';
import { hopByHop, nominated } from '../kit/headers.ts';

/** Of the connection, or said by the relay itself; what frames a body is said as it came. */
const ofThisHop: ReadonlySet<string> = new Set([...hopByHop, 'expect', 'host']);
/** What `Connection` may not name: each would be another request without it. */
const framing: ReadonlySet<string> = new Set(['content-length', 'host', 'transfer-encoding']);

/**
 * Passes requests on to the owner, and its answers back, as they are and as they come. Each has a connection to itself
 * while it lasts; the caller's address goes with it.
 */
export class Relay {
  readonly #path: string;
  readonly #logger: Logger;
  readonly #agent = new Agent({ keepAlive: true, maxFreeSockets: 64 });

  constructor(path: string, logger: Logger) {
    this.#path = path;
    this.#logger = logger;
  }

  pass(request: IncomingMessage, response: ServerResponse): void {
    const { socket, method = '', url = '' } = request;
    const caller = { address: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 };
    const asked = ask({
      socketPath: this.#path,
      agent: this.#agent,
      method,
      path: passedTarget(caller, url),
      headers: headersOf(request),
    });
    asked.on('response', (answer) => pass(answer, response, asked));
    asked.on('error', (error) => this.#failed(response, error));
    response.on('close', () => {
      // Also of one that has been answered before all of its body was taken: the rest is for nobody.
      if (!response.writableFinished || !asked.writableFinished) asked.destroy();
    });
    // Not `pipeline`: the request's stream must live on, since the answer goes over its connection.
    request.on('error', () => asked.destroy());
    request.pipe(asked);
  }

  close(): void {
    this.#agent.destroy();
  }

  /** An answer that has begun ends with its own stream. */
  #failed(response: ServerResponse, error: Error): void {
    if (response.headersSent || response.destroyed) return;
    this.#logger.warn({ err: error }, 'a request could not be passed on');
    response.setHeader('connection', 'close');
    const refusal = new MillraceError('gateway.stopping', 'the gateway is stopping, or starting again', {
      retryAfterSeconds: 1,
    });
    replyWithError(response, refusal, this.#logger);
  }
}

function headersOf({ headers, rawHeaders }: IncomingMessage): string[] {
  const named = nominated(headers.connection)?.filter((name) => !framing.has(name));
  const passed = headers.host === undefined ? [] : ['host', headers.host];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const [name = '', value = ''] = rawHeaders.slice(at, at + 2);
    const lower = name.toLowerCase();
    if (!ofThisHop.has(lower) && !named?.includes(lower)) passed.push(name, value);
  }
  if (headers['transfer-encoding'] !== undefined) passed.push('transfer-encoding', 'chunked');
  return passed;
}

function pass(answer: IncomingMessage, response: ServerResponse, asked: ClientRequest): void {
  const { headers, rawHeaders, statusCode = 502, statusMessage } = answer;
  // What the owner says of its connection it means for the caller's: nobody reads the rest of this body, or it stops.
  if (headers.connection === 'close') response.setHeader('connection', 'close');
  response.sendDate = false; // It has one.
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const [name = '', value = ''] = rawHeaders.slice(at, at + 2);
    if (!hopByHop.has(name.toLowerCase())) response.appendHeader(name, value);
  }
  response.writeHead(statusCode, statusMessage);
  response.flushHeaders();
  pipeline(answer, response, (error) => {
    if (error) asked.destroy();
  });
}
