import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { type IncomingMessage, request as requestOf } from 'node:http';
import { request } from 'undici';
import { cases } from './cases.ts';
import { keyHeader, type Script, type Seen, Sink } from './sink.ts';

export interface ConformanceOptions {
  /** Of the gateway: `http://127.0.0.1:8080`. */
  readonly url: string;
  /** A function that passes on to the suite what it gets, see probe.ts; and another one like it. */
  readonly functions?: readonly [name: string, other: string];
  /** Where the functions and callbacks of that gateway reach the suite. */
  readonly listen?: { readonly host: string; readonly port: number };
  /** The base URL of the suite as the gateway sees it, where that is not the address that it listens on. */
  readonly sinkUrl?: string | undefined;
  /** `Authorization` of every request, where the gateway wants one. */
  readonly authorization?: string | undefined;
  /** How long something that must happen may take, ms: retries of OpenFaaS begin after ten seconds. */
  readonly patienceMs?: number;
  /** How long it is looked whether something happens that must not, ms. */
  readonly quietMs?: number;
  /** Only cases of which the name has this in it. */
  readonly only?: string | undefined;
}

/**
 * `openfaas`: OpenFaaS documents it. `reliable`: what users of it asked for, and trust a queue to do. `extended`: needs
 * Millrace's own headers and routes.
 */
export type Level = 'openfaas' | 'reliable' | 'extended';

export interface Case {
  readonly name: string;
  readonly level: Level;
  readonly run: (world: World) => Promise<void>;
}

export interface CaseResult {
  readonly name: string;
  readonly level: Level;
  /** Undefined: it holds. */
  readonly failure: string | undefined;
  readonly ms: number;
}

/** What a case is given: its own key, under which its calls, runs and callbacks are found. */
export class World {
  readonly key: string = randomUUID();
  readonly callbackUrl: string;
  readonly quietMs: number;
  readonly patienceMs: number;
  readonly #options: ConformanceOptions;
  readonly #sink: Sink;
  readonly #functions: readonly [string, string];

  constructor(options: ConformanceOptions, sink: Sink, base: string) {
    this.#options = options;
    this.#sink = sink;
    this.#functions = options.functions ?? ['conformance', 'conformance-other'];
    this.callbackUrl = `${base}/callback/${this.key}`;
    this.quietMs = options.quietMs ?? 2000;
    this.patienceMs = options.patienceMs ?? 60_000;
  }

  /** Asks for an asynchronous run of the function. */
  async call(asked: Asked = {}) {
    const { name = this.#functions[0], path = '', method = 'POST', body, headers = {} } = asked;
    const key = asked.key ?? this.key;
    return this.send(method, `/async-function/${name}${path}`, { [keyHeader]: key, ...headers }, body);
  }

  get other(): string {
    return this.#functions[1];
  }

  async send(method: string, path: string, headers: Readonly<Record<string, string>> = {}, body?: string | Buffer) {
    const { url, authorization } = this.#options;
    const answer = await request(`${url}${path}`, {
      method,
      headers: { ...(authorization !== undefined && { authorization }), ...headers },
      body: body ?? null,
    });
    return { status: answer.statusCode, headers: answer.headers, text: await answer.body.text() };
  }

  /** The status of a call with a body of so many bytes, of which only the first are sent. */
  async announce(bytes: number): Promise<number> {
    const { url, authorization } = this.#options;
    const call = requestOf(`${url}/async-function/${this.#functions[0]}`, {
      method: 'POST',
      headers: { ...(authorization !== undefined && { authorization }), 'content-length': bytes },
    });
    try {
      call.write('only the first');
      const [answer] = (await once(call, 'response', { signal: AbortSignal.timeout(this.patienceMs) })) as [
        IncomingMessage,
      ];
      return answer.statusCode ?? 0;
    } finally {
      call.on('error', () => undefined);
      call.destroy();
    }
  }

  /** What the function answers. */
  answer(script: Script, key = this.key): void {
    this.#sink.script('function', key, script);
  }

  answerCallback(script: Script): void {
    this.#sink.script('callback', this.key, script);
  }

  runs(key = this.key): readonly Seen[] {
    return this.#sink.runs(key);
  }

  callbacks(): readonly Seen[] {
    return this.#sink.callbacks(this.key);
  }

  mostAtOnce(key = this.key): number {
    return this.#sink.mostAtOnce(key);
  }

  /** Fails the case when it does not come to be so. */
  async until(what: string, holds: () => boolean): Promise<void> {
    if (!(await this.#sink.until(holds, this.patienceMs)))
      throw new Error(`${what}: not so after ${this.patienceMs / 1000} s`);
  }

  /** Fails the case when it comes to be so while it is looked. */
  async never(what: string, happens: () => boolean): Promise<void> {
    if (await this.#sink.until(happens, this.quietMs)) throw new Error(`${what}: it came to that`);
  }
}

export interface Asked {
  readonly name?: string;
  readonly key?: string;
  readonly path?: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

/** Runs every case, one after another; `told` hears of each as it ends. */
export async function conformance(
  options: ConformanceOptions,
  told: (result: CaseResult) => void = () => undefined,
): Promise<readonly CaseResult[]> {
  const sink = new Sink();
  const { host, port } = options.listen ?? { host: '127.0.0.1', port: 8999 };
  const bound = await sink.listen(host, port);
  const base = options.sinkUrl ?? `http://${host}:${bound}`;
  const results: CaseResult[] = [];
  try {
    for (const { name, level, run } of cases.filter((each) => each.name.includes(options.only ?? ''))) {
      const began = performance.now();
      const failure = await run(new World(options, sink, base)).then(
        () => undefined,
        (error: unknown) => (error instanceof Error ? error.message : String(error)),
      );
      const result = { name, level, failure, ms: performance.now() - began };
      results.push(result);
      told(result);
    }
  } finally {
    await sink.close();
  }
  return results;
}
