import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import { Observable, type Subscriber } from '../kit/rxjs.ts';
import { z } from 'zod';
import type { Config, ConnectorConfig, PluginConfig } from '../config/schema.ts';
import type { ConfigTest, TestInput } from '../config/tests.ts';
import { sleep, within } from '../contracts/clock.ts';
import type { OutgoingMessage } from '../contracts/connection.ts';
import type { Connector, Credit } from '../contracts/connector.ts';
import {
  type ConnectorHost,
  defineConnection,
  defineConnector,
  defineProvider,
  type PluginDefinition,
  type QueueDefinition,
} from '../contracts/definition.ts';
import { Delivery, type Verdict } from '../contracts/delivery.ts';
import { MillraceError } from '../contracts/errors.ts';
import type { Outcome } from '../contracts/invocation.ts';
import type { Queue } from '../contracts/queue.ts';
import { bufferOf, bytesOf, jsonOf } from '../kit/body.ts';
import { compose } from './compose.ts';
import { Gateway } from './gateway.ts';

/** The kinds that stand in for queues and stores. */
export interface StandIns {
  readonly queue: PluginDefinition;
  readonly store: PluginDefinition;
}

interface Run {
  readonly function: string;
  readonly body: unknown;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
}

/** What came of a test: nothing where all was as it said. */
export interface TestResult {
  readonly name: string;
  readonly differences: readonly string[];
}

/** Everything of a test must have ended by then. */
const limitMs = 10_000;

/**
 * Runs one test of a configuration: the gateway that it describes, pipeline, policies and all, with a broker, functions,
 * queues and stores that only play their parts. Delays between attempts are left out.
 */
export async function rehearse(
  config: Config,
  test: ConfigTest,
  standIns: StandIns,
  logger: Logger,
): Promise<TestResult> {
  const connector = test.connector === undefined ? caller() : config.connectors.get(test.connector);
  if (!connector) return { name: test.name, differences: [`no connector "${test.connector}"`] };
  if (!connector.messages && test.call === undefined) {
    const text = `connector "${connector.name}" is of kind ${connector.kind}, which brings no messages: test its function by \`call\``;
    return { name: test.name, differences: [text] };
  }
  const stage = new Stage(test, config.gateway.namespace);
  const gateway = new Gateway(compose(stage.configOf(config, connector, standIns), logger), '/');
  try {
    await gateway.start();
    await stage.play();
    return { name: test.name, differences: await stage.differences() };
  } finally {
    await gateway.stop(0);
  }
}

/** The parts that are played, and what was seen of them. */
class Stage {
  readonly #test: ConfigTest;
  readonly #runs: Run[] = [];
  readonly #published: OutgoingMessage[] = [];
  readonly #queues: Queue[] = [];
  readonly #orderKeys: (string | undefined)[] = [];
  #verdicts: readonly Verdict[] = [];
  #broker:
    | { readonly host: ConnectorHost; readonly subscriber: Subscriber<Delivery>; readonly credit: Credit }
    | undefined;

  readonly #namespace: string;

  constructor(test: ConfigTest, namespace: string) {
    this.#test = test;
    this.#namespace = namespace;
  }

  configOf(config: Config, connector: ConnectorConfig, { queue, store }: StandIns): Config {
    const connection = this.#connection();
    const provider = this.#provider();
    const loopback = { host: '127.0.0.1', port: 0 };
    const functions = [...config.functions].map(([name, one]) => {
      const { retry } = one.policy;
      const backoff = { ...retry.backoff, initialMs: 0, maxMs: 0 };
      const policy = {
        ...one.policy,
        retry: { ...retry, backoff, retryAfter: { ...retry.retryAfter, honour: false } },
      };
      return [name, { ...one, provider: 'test', config: {}, policy }] as const;
    });
    return {
      ...config,
      gateway: { ...config.gateway, listen: loopback, management: loopback, auth: 'none' },
      connections: replaced(config.connections, connection, {}),
      queues: replaced(config.queues, this.#watched(queue as QueueDefinition), { allowVolatile: true }),
      stores: replaced(config.stores, store, {}),
      providers: new Map([['test', { ...pluginOf('test', provider), config: {}, allowDeploy: false }]]),
      connectors: new Map([[connector.name, { ...connector, enabled: true, definition: this.#source(connector) }]]),
      functions: new Map(functions),
    };
  }

  /** Gives the messages, and waits until nothing moves any more. */
  async play(): Promise<void> {
    const given = [this.#test.input].flat().map((input, index) => this.#give(input, index));
    const all = Promise.all(given);
    if (!(await within(all, limitMs))) {
      throw new MillraceError('config.invalid', `not all messages were settled within ${limitMs / 1000} s`);
    }
    this.#verdicts = await all;
    const until = performance.now() + limitMs;
    while (!(await this.#isQuiet())) {
      if (performance.now() > until)
        throw new MillraceError('config.invalid', `it still ran after ${limitMs / 1000} s`);
      await sleep(5);
    }
  }

  async differences(): Promise<string[]> {
    const { expect } = this.#test;
    const found: string[] = [];
    const compare = (what: string, expected: unknown, actual: unknown): void => {
      if (expected === undefined || isDeepStrictEqual(expected, actual)) return;
      found.push(`${what}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual) ?? 'nothing'}`);
    };
    const [first] = this.#runs;
    compare('invocations', expect.invocations, this.#runs.length);
    compare('functions', expect.functions?.toSorted(), [...new Set(this.#runs.map((run) => run.function))].toSorted());
    compare('request', expect.request, first?.body);
    compare('orderKey', expect.orderKey, this.#orderKeys[0]);
    for (const [name, value] of Object.entries(expect.headers ?? {})) {
      compare(`headers.${name}`, value, first?.headers[name.toLowerCase()]);
    }
    for (const verdict of this.#verdicts)
      compare('settled', expect.settled, verdict.kind === 'retry' ? 'retry' : 'ack');
    if (expect.deadLetter !== undefined) {
      const letters = (await Promise.all(this.#queues.map((queue) => queue.deadLetters.list({}, 10)))).flatMap(
        ({ items }) => items,
      );
      if (expect.deadLetter === false)
        compare(
          'deadLetter',
          [],
          letters.map(({ reason }) => reason),
        );
      else if (letters.length === 0) found.push('deadLetter: expected one, got none');
      else compare('deadLetter.reason', expect.deadLetter.reason, letters[0]?.reason);
    }
    if (expect.published) {
      compare('published', expect.published.length, this.#published.length);
      for (const [index, { to, key, body }] of expect.published.entries()) {
        const message = this.#published[index];
        compare(`published.${index}.to`, to, message?.to);
        compare(`published.${index}.key`, key, message?.key);
        compare(`published.${index}.body`, body, message && contentOf(message.body));
      }
    }
    return found;
  }

  async #give(input: TestInput, index: number): Promise<Verdict> {
    const { host, subscriber, credit } = this.#broker ?? fail();
    const { signal } = new AbortController();
    await credit.take(signal);
    const { promise, resolve } = Promise.withResolvers<Verdict>();
    if (this.#test.call !== undefined) {
      subscriber.next(callOf(this.#test.call, input, resolve));
      return promise;
    }
    const message = {
      topic: input.topic,
      id: input.id ?? String(index + 1),
      at: host.clock.now() - input.age,
      key: input.key,
      headers: Object.entries(input.headers).map(([name, value]) => [name, [value]] as const),
      body: bytesFrom(input.body),
      attempt: input.attempt,
    };
    subscriber.next(host.message(message, { kind: 'settles', settle: resolve }));
    return promise;
  }

  async #isQuiet(): Promise<boolean> {
    const stats = (await Promise.all(this.#queues.map((queue) => queue.lanes()))).flat();
    return stats.every(({ ready, delayed, leased }) => ready + delayed + leased === 0);
  }

  #source(connector: ConnectorConfig): ConnectorConfig['definition'] {
    const create = (_config: unknown, host: ConnectorHost): Connector => ({
      start: async () => undefined,
      deliveries: (credit) =>
        new Observable((subscriber) => {
          this.#broker = { host, subscriber, credit };
        }),
      health: () => ({ state: 'running', reconnects: 0 }),
      stop: async () => undefined,
    });
    return { ...connector.definition, create } as ConnectorConfig['definition'];
  }

  #connection(): PluginDefinition {
    return defineConnection({
      kind: 'test',
      summary: 'Keeps what is published.',
      config: z.looseObject({}),
      examples: [{}],
      publishes: true,
      create: () => ({
        start: async () => undefined,
        health: () => ({ state: 'connected', reconnects: 0 }),
        publish: async (message) => void this.#published.push(message),
        stop: async () => undefined,
      }),
    });
  }

  #provider(): PluginDefinition {
    const { responses } = this.#test.function;
    return defineProvider({
      kind: 'test',
      summary: 'Answers as the test says.',
      config: z.looseObject({}),
      functionConfig: z.looseObject({}),
      examples: [{}],
      create: (_config, host) => ({
        start: async () => undefined,
        deploy: async ({ name }) =>
          host.report({ name, state: 'ready', replicas: 1, availableReplicas: 1, capacity: 1000 }),
        remove: async () => undefined,
        invoke: async ({ name }, { invocation }): Promise<Outcome> => {
          const { body, headers, orderKey } = invocation;
          const {
            status,
            headers: answered,
            body: answer,
          } = responses[Math.min(this.#runs.length, responses.length - 1)] ?? fail();
          this.#runs.push({
            function: name.endsWith(`.${this.#namespace}`) ? name.slice(0, -this.#namespace.length - 1) : name,
            body: contentOf(bytesOf(body)),
            headers,
          });
          this.#orderKeys.push(orderKey);
          return {
            status,
            headers: answered,
            body: bytesFrom(answer),
            durationMs: 0,
            failure: undefined,
            error: undefined,
          };
        },
        stop: async () => undefined,
      }),
    });
  }

  #watched(definition: QueueDefinition): PluginDefinition {
    const create: QueueDefinition['create'] = (config, host) => {
      const queue = definition.create(config, host);
      this.#queues.push(queue);
      return queue;
    };
    return { ...definition, create };
  }
}

/** A source of calls, as a schedule or a caller is one. */
function caller(): ConnectorConfig {
  const definition = defineConnector({
    kind: 'test',
    summary: 'Calls a function.',
    config: z.looseObject({}),
    examples: [{}],
    create: () => {
      throw new Error('the stage plays it');
    },
  });
  return { ...pluginOf('test', definition), enabled: true, credit: 1, messages: undefined };
}

function callOf(name: string, { headers, body }: TestInput, resolve: (verdict: Verdict) => void): Delivery {
  const asked = { function: name, method: 'POST', path: '', query: '', headers: { ...headers }, body: bytesFrom(body) };
  return new Delivery('test', { ...asked, mode: 'async' }, { kind: 'replies', settle: resolve });
}

function replaced(
  plugins: ReadonlyMap<string, PluginConfig>,
  definition: PluginDefinition,
  settings: Readonly<Record<string, unknown>>,
): Map<string, PluginConfig> {
  const config = definition.config.parse(settings);
  return new Map([...plugins.keys()].map((name) => [name, { ...pluginOf(name, definition), config }]));
}

function pluginOf(name: string, definition: PluginDefinition): PluginConfig {
  return { name, kind: definition.kind, definition, config: {}, connection: undefined };
}

/** JSON where it is JSON, else text. */
function contentOf(bytes: Uint8Array): unknown {
  const json = jsonOf(bytes);
  return json === undefined ? bufferOf(bytes).toString() : json;
}

function bytesFrom(value: unknown): Uint8Array {
  return Buffer.from(value === undefined ? '' : typeof value === 'string' ? value : JSON.stringify(value));
}

function fail(): never {
  throw new Error('the gateway of the test is not running');
}
