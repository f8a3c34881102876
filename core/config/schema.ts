import ipaddr from 'ipaddr.js';
import { z } from 'zod';
import type { PluginDefinition } from '../contracts/definition.ts';
import type { Deployment } from '../contracts/deployment.ts';
import { functionAuths, type FunctionPolicy, type RetryPolicy, type ScalePolicy } from '../contracts/policy.ts';
import type { MessageSettings } from './messages.ts';
import { type AuthConfig, authSchema } from './auth.ts';
import { callerLimits } from './caller-limits.ts';
import { type ConfigTest, testSchema } from './tests.ts';
import { bytes, dnsLabel, duration, maxConcurrency, secret, timeLimit } from './units.ts';

/** A function as the YAML names it: `name`, or `name.namespace`. */
export const functionName = z
  .string()
  .regex(
    /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$/,
    'expected NAME or NAME.NAMESPACE of lower-case letters, digits and "-", at most 63 each',
  );

const failureWord = z
  .string()
  .regex(
    /^(timeout|connection|crash|missing|overload|internal|[1-5]xx|[1-5]\d\d)$/,
    'expected a status (503), a class of them (5xx), or one of timeout, connection, crash, missing, overload, internal',
  );

// A status may be written as a number in YAML.
const failureWords = z.array(z.union([failureWord, z.int().transform(String).pipe(failureWord)]));

export const retrySchema = z
  .strictObject({
    attempts: z.int().min(1).max(1000).default(5).describe('Attempts in all, the first included.'),
    backoff: z
      .strictObject({
        kind: z.enum(['exponential', 'linear', 'fixed']).default('exponential').describe('How the delay grows.'),
        initial: duration('1s').describe('Delay before the second attempt.'),
        factor: z.number().min(1).max(100).default(2).describe('What an exponential delay is multiplied by each time.'),
        max: duration('5m').describe('No delay is longer.'),
        jitter: z
          .enum(['full', 'none'])
          .default('full')
          .describe('full: anywhere between 0 and the delay, so that many failures do not come back at once.'),
      })
      .prefault({})
      .describe('The delay between attempts.'),
    retryOn: failureWords
      .default(['timeout', 'connection', 'crash', '408', '409', '425', '429', '5xx'])
      .describe('Failures that another attempt may mend. The more exact word wins over the less exact one.'),
    failOn: failureWords.default(['4xx']).describe('Failures that no attempt will mend: straight to the dead letters.'),
    retryAfter: z
      .strictObject({
        honour: z.boolean().default(true).describe('Wait as long as the Retry-After of a 429 or 503 says.'),
        max: duration('10m').describe('But no longer than this.'),
      })
      .prefault({})
      .describe('What a function may say about its next attempt.'),
  })
  .describe('How failed attempts of queued work are repeated.');

const retryReference = z.union([dnsLabel, retrySchema]);
const retryText = 'A name of policies.retry (standard and once are built in), or a policy written out.';

function isReachable(entry: string): boolean {
  return ipaddr.isValidCIDR(entry) || ipaddr.isValid(entry) || /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/i.test(entry);
}

const port = z.int().min(0).max(65_535);

const gatewaySchema = z.strictObject({
  listen: z
    .strictObject({
      host: z.string().min(1).default('127.0.0.1').describe('Address of the public listener.'),
      port: port.default(8080).describe('0 takes a free one.'),
    })
    .prefault({})
    .describe('Where callers reach functions and the management API.'),
  management: z
    .strictObject({
      host: z.string().min(1).default('127.0.0.1').describe('Address of the management listener.'),
      port: port.default(8082).describe('0 takes a free one.'),
    })
    .prefault({})
    .describe('Metrics and health, apart from the public port.'),
  processes: z
    .union([z.literal('auto'), z.int().min(1).max(256)])
    .default(1)
    .describe(
      'Processes that share the public listener; `auto`: as many as there are processors. One is the gateway as ever, with ' +
        'its queues; the others answer synchronous calls of public functions with one `url`, and pass all else on to it.',
    ),
  namespace: dnsLabel
    .default('openfaas-fn')
    .describe('Namespace of functions that name none; OpenFaaS clients expect this one.'),
  auth: z
    .union([z.literal('none'), authSchema])
    .prefault('none')
    .describe('Who may do what; none only while the listener is on a loopback address.'),
  console: z.boolean().default(true).describe('The web console at /ui/; false: it is not there.'),
  functions: z
    .strictObject({
      auth: z.enum(functionAuths).default('public').describe('Who may call a function that does not say it itself.'),
    })
    .prefault({})
    .describe('What holds for functions unless they say otherwise.'),
  shutdown: z
    .strictObject({
      notice: duration('0s').describe(
        'Told to stop, it says so at `/readyz` and goes on for so long: until load balancers have seen it, and send their calls elsewhere.',
      ),
      drain: timeLimit('30s').describe('What is in flight may finish for so long; then it is handed back.'),
    })
    .prefault({})
    .describe('Stopping.'),
  limits: z
    .strictObject({
      body: bytes('6MiB').describe('Largest body of a synchronous call, and largest result that is kept.'),
      asyncBody: bytes('1MiB').describe('Largest body of an invocation that goes through a queue.'),
      inFlight: z.int().min(1).default(2000).describe('Calls at once, over all functions.'),
      waiting: z.int().min(0).default(1000).describe('Calls that wait for a slot, over all functions.'),
      depth: z
        .int()
        .min(1)
        .max(1000)
        .default(16)
        .describe(
          'Invocations that may lead to one another: replies, onSuccess, onFailure. Deeper ones are dead letters: loop.',
        ),
      http: callerLimits,
    })
    .prefault({})
    .describe('What is more than this is refused, never dropped.'),
  callbacks: z
    .strictObject({
      timeout: timeLimit('10s').describe('For one attempt, from the name look-up to the answer.'),
      allow: z
        .array(z.string().refine(isReachable, 'expected a host name, an address or a network such as 10.0.0.0/8'))
        .default([])
        .describe(
          'Hosts, addresses and networks (CIDR) that may be called although they are private or on this machine.',
        ),
      internal: z
        .array(z.string().regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/, 'expected a host name in lower case'))
        .default(['gateway', 'gateway.openfaas', 'gateway.openfaas.svc', 'gateway.openfaas.svc.cluster.local'])
        .describe(
          'Hosts that mean this gateway: a callback to /function/NAME there runs the function, and is sent nowhere.',
        ),
      secret: secret()
        .optional()
        .describe('Signs callbacks (HMAC-SHA256), so that their receiver can tell them from others.'),
      retry: retryReference.default('standard').describe(retryText),
    })
    .prefault({})
    .describe('Calls to X-Callback-Url with the outcome of an invocation.'),
  deployments: z
    .strictObject({
      store: dnsLabel.default('default').describe('The store that keeps what is deployed through the API.'),
      refresh: timeLimit('5s').describe('How often it is looked for what other gateways deployed.'),
    })
    .prefault({})
    .describe('Functions and namespaces made through the API, where a provider has `allowDeploy`.'),
  reload: z
    .strictObject({
      watch: z
        .boolean()
        .default(true)
        .describe('Take up changes of this file, of those that it includes and of `${file:…}` as they are made.'),
      debounce: duration('500ms')
        .refine((ms) => ms >= 50, 'expected at least 50ms')
        .describe('A change counts once all of them have been as they are for so long.'),
    })
    .prefault({})
    .describe('Taking up another configuration without a restart; SIGHUP asks for it at any time.'),
});

const invokeSchema = z.strictObject({
  timeout: timeLimit('30s').describe('How long one attempt may run.'),
  concurrency: z
    .int()
    .min(1)
    .max(maxConcurrency)
    .default(32)
    .describe('Attempts at once; the provider may allow fewer.'),
  perReplica: z
    .int()
    .min(1)
    .max(maxConcurrency)
    .optional()
    .describe('Attempts at once for each replica that takes calls, and no more than `concurrency` in all.'),
  waiting: z.int().min(0).default(100).describe('Calls that may wait for one of these; more are answered 429.'),
  queue: dnsLabel.default('default').describe('The queue for asynchronous invocations.'),
  retry: retryReference.default('standard').describe(retryText),
  priority: z.int().min(0).max(9).default(5).describe('0 (lowest) to 9, where the caller names none.'),
  maxAge: duration().optional().describe('Queued work that has not been run by then expires.'),
  result: z
    .strictObject({
      store: z.boolean().default(true).describe('Keep the outcome for GET /invocations/ID/result.'),
      ttl: duration('24h').describe('For so long.'),
    })
    .prefault({})
    .describe('Results of asynchronous invocations.'),
  onSuccess: z
    .array(z.strictObject({ function: functionName.describe('The function to run.') }))
    .default([])
    .describe('Functions that get the answer as a new invocation.'),
  onFailure: z
    .array(z.strictObject({ function: functionName.describe('The function to run.') }))
    .default([])
    .describe('Functions that get the last answer of what ended as a dead letter.'),
});

export const scaleSchema = z
  .strictObject({
    min: z.int().min(0).max(1000).default(1).describe('Never fewer replicas while it is not idle.'),
    max: z.int().min(1).max(1000).default(20).describe('Never more.'),
    zero: z
      .boolean()
      .default(false)
      .describe('No replica while it is idle; the next call starts one, and waits for it.'),
    zeroDuration: timeLimit('15m').describe('It is idle when nothing ran or waited for so long.'),
    type: z
      .enum(['capacity', 'rps', 'cpu', 'queue'])
      .default('rps')
      .describe(
        'What is held against `target`: calls in flight and waiting (`capacity`), calls a second (`rps`), thousandths of a core (`cpu`), or what waits in its queue (`queue`).',
      ),
    target: z.number().positive().max(1e9).default(50).describe('What one replica is to bear.'),
    targetProportion: z
      .number()
      .min(0.01)
      .max(1)
      .default(0.9)
      .describe('The part of `target` at which there is to be another one.'),
    downWindow: timeLimit('30s').describe('Scaled down to the most that was wanted within so long.'),
    factor: z.int().min(0).max(100).default(20).describe('Per cent of `max` that an alert of AlertManager adds.'),
  })
  .refine(({ min, max }) => min <= max, { path: ['min'], message: 'more than `max`' });

const textMap = z.record(z.string(), z.string()).default({});

/** The keys of a function that are not its provider's. */
export const functionSchema = z.looseObject({
  provider: dnsLabel.optional().describe('Which provider runs it; may be left out when there is only one.'),
  env: textMap.describe('Environment variables of the function.'),
  labels: textMap.describe('Labels, as OpenFaaS has them.'),
  annotations: textMap.describe('Annotations, as OpenFaaS has them.'),
  auth: z
    .enum(functionAuths)
    .optional()
    .describe(
      'Who may call it over HTTP: anybody (`public`), whoever has the scope `invoke` in its namespace (`token`), or nobody ' +
        '(`event-only`: connectors and queues run it). Also annotation `millrace.dev/auth`; else gateway.functions.auth.',
    ),
  invoke: invokeSchema.prefault({}).describe('How it is run, for calls and queued work alike.'),
  scale: scaleSchema
    .optional()
    .describe('How many replicas it has; left out, as many as it was deployed with. For providers that can be told.'),
});

/** The keys of a connector that are not its plugin's. */
export const connectorSchema = z.looseObject({
  kind: z.string().describe('Which plugin.'),
  enabled: z.boolean().default(true).describe('false: as if it were not there.'),
  credit: z
    .int()
    .min(1)
    .max(100_000)
    .optional()
    .describe(
      'Deliveries that may be unsettled at once; left out, 64 messages of a broker, or as many calls as `gateway.limits.inFlight`.',
    ),
});

export const pluginSchema = z.looseObject({ kind: z.string().describe('Which plugin.') });

/** The keys of a provider that are not its plugin's. */
export const providerSchema = pluginSchema.extend({
  allowDeploy: z
    .boolean()
    .default(false)
    .describe(
      'Takes functions that are deployed through the API. Whoever may deploy can then run whatever this provider runs.',
    ),
});

/** Everything that is not a plugin's own. */
export const rootSchema = z.strictObject({
  apiVersion: z.literal('millrace/v1').default('millrace/v1').describe('Version of this format.'),
  include: z
    .array(z.string())
    .default([])
    .describe('More files (globs, relative to this one) whose maps are merged in.'),
  plugins: z
    .array(z.string().min(1))
    .default([])
    .describe('Modules with plugins of others: paths relative to this file, or package names.'),
  gateway: gatewaySchema.prefault({}).describe('The gateway itself.'),
  policies: z
    .strictObject({ retry: z.record(dnsLabel, retrySchema).default({}).describe('Retry policies by name.') })
    .prefault({})
    .describe('Policies that functions name.'),
  connections: z
    .record(dnsLabel, pluginSchema)
    .default({})
    .describe('Brokers; each is dialled once and shared by all that name it.'),
  queues: z.record(dnsLabel, pluginSchema).default({}).describe('Where asynchronous invocations are kept.'),
  stores: z.record(dnsLabel, pluginSchema).default({}).describe('Where small records are kept.'),
  providers: z.record(dnsLabel, providerSchema).default({}).describe('What runs functions.'),
  functions: z.record(functionName, functionSchema).default({}).describe('The functions.'),
  connectors: z.record(dnsLabel, connectorSchema).default({}).describe('What brings events to functions.'),
  tests: z.array(testSchema).default([]).describe('Messages with what must come of them: `millrace test`.'),
  observability: z
    .strictObject({
      logs: z
        .strictObject({
          format: z
            .enum(['auto', 'json', 'pretty'])
            .default('auto')
            .describe('auto: pretty on a terminal, JSON elsewhere.'),
          level: z
            .enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])
            .default('info')
            .describe('The least that is logged.'),
        })
        .prefault({})
        .describe('The log, on standard output.'),
      metrics: z
        .strictObject({
          path: z
            .string()
            .regex(/^\//, 'expected a path such as /metrics')
            .default('/metrics')
            .describe('On the management listener.'),
        })
        .prefault({})
        .describe('Prometheus metrics.'),
    })
    .prefault({})
    .describe('What can be seen of the gateway.'),
});

export type RootConfig = z.output<typeof rootSchema>;
export type GatewayConfig = Omit<RootConfig['gateway'], 'auth' | 'callbacks'> & {
  readonly auth: 'none' | AuthConfig;
  readonly callbacks: Omit<RootConfig['gateway']['callbacks'], 'retry'> & { readonly retry: RetryPolicy };
};

/** One plugin instance: what it is called, which plugin it is, and what that plugin makes of its settings. */
export interface PluginConfig {
  readonly name: string;
  readonly kind: string;
  readonly definition: PluginDefinition;
  readonly config: unknown;
  /** The connection that it works over, whether the file names it or it is the only one; none where it needs none. */
  readonly connection: string | undefined;
}

export interface ProviderConfig extends PluginConfig {
  readonly allowDeploy: boolean;
}

export interface ConnectorConfig extends PluginConfig {
  readonly enabled: boolean;
  readonly credit: number;
  /** What becomes of its messages; undefined where it brings none. */
  readonly messages: MessageSettings | undefined;
}

export interface FunctionConfig {
  /** `name.namespace` */
  readonly name: string;
  readonly provider: string;
  /** The provider's own part. */
  readonly config: unknown;
  readonly env: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly policy: FunctionPolicy;
  /** What was asked for, if it was deployed through the API. */
  readonly deployment?: (Deployment & { readonly createdAt: number }) | undefined;
}

/** A configuration that has been checked as a whole. Never changed afterwards. */
export interface Config {
  readonly gateway: GatewayConfig;
  readonly observability: RootConfig['observability'];
  readonly connections: ReadonlyMap<string, PluginConfig>;
  readonly queues: ReadonlyMap<string, PluginConfig>;
  readonly stores: ReadonlyMap<string, PluginConfig>;
  readonly providers: ReadonlyMap<string, ProviderConfig>;
  readonly connectors: ReadonlyMap<string, ConnectorConfig>;
  readonly functions: ReadonlyMap<string, FunctionConfig>;
  readonly tests: readonly ConfigTest[];
  /** For queued work whose function is not known any more. */
  readonly standardRetry: RetryPolicy;
  /** Every value of a field that is marked secret. */
  readonly secrets: readonly string[];
}

/** `scale` of the YAML in the units of the code. */
export function scalePolicyOf(scale: z.output<typeof scaleSchema>): ScalePolicy {
  const { zeroDuration, downWindow, ...rest } = scale;
  return { ...rest, zeroAfterMs: zeroDuration, downWindowMs: downWindow };
}

/** The retry policy of the YAML in the units of the code. */
export function retryPolicyOf(retry: z.output<typeof retrySchema>): RetryPolicy {
  const { attempts, backoff, retryOn, failOn, retryAfter } = retry;
  return {
    attempts,
    backoff: {
      kind: backoff.kind,
      initialMs: backoff.initial,
      factor: backoff.factor,
      maxMs: backoff.max,
      jitter: backoff.jitter,
    },
    retryOn,
    failOn,
    retryAfter: { honour: retryAfter.honour, maxMs: retryAfter.max },
  };
}
