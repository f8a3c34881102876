import { isDeepStrictEqual } from 'node:util';
import type { Config, ConnectorConfig, FunctionConfig } from '../config/schema.ts';
import type { FrontPlan, FrontPlugin, FrontSettings } from './protocol.ts';

/**
 * What fronts may answer by themselves without changing what was promised: calls of public functions that any process can
 * run alone. All else needs what only the owner has (queues, stores, replicas, credentials, who waits for what), and is
 * passed on to it.
 */
export function planOf(config: Config): FrontPlan {
  const functions = new Map([...config.functions].filter(([, each]) => isForFronts(each, config)));
  const providers = new Set([...functions.values()].map(({ provider }) => provider));
  const settings: FrontSettings = {
    // Nobody is asked for credentials in front, so they are not there either.
    gateway: {
      ...config.gateway,
      auth: 'none',
      callbacks: { ...config.gateway.callbacks, secret: undefined },
      functions: { ...config.gateway.functions, auth: 'public' },
    },
    observability: config.observability,
    standardRetry: config.standardRetry,
    connector: connectorOf(config.connectors),
    providers: [...config.providers.values()].filter(({ name }) => providers.has(name)).map(plugin),
    secrets: config.secrets,
  };
  return { settings, functions };
}

/** What has to be said to whoever goes by `before`. */
export function difference(before: FrontPlan, after: FrontPlan) {
  const isSame = isDeepStrictEqual(before.settings, after.settings);
  // With other settings they are placed anew, whatever they were.
  const put = [...after.functions.values()].filter(
    (each) => !isSame || !isDeepStrictEqual(before.functions.get(each.name), each),
  );
  const removed = [...before.functions.keys()].filter((name) => !after.functions.has(name));
  return { settings: isSame ? undefined : after.settings, put, removed };
}

function isForFronts(
  { provider, config, policy }: FunctionConfig,
  { gateway, providers }: Pick<Config, 'gateway' | 'providers'>,
): boolean {
  const definition = providers.get(provider)?.definition;
  if (definition?.type !== 'provider') return false;
  const isPublic = (policy.auth ?? gateway.functions.auth) === 'public';
  return isPublic && !policy.scale && policy.perReplica === undefined && definition.inFront?.(config as never) === true;
}

/** The one that answers `/function/NAME`: there can be no second one. */
function connectorOf(connectors: ReadonlyMap<string, ConnectorConfig>): FrontPlugin | undefined {
  for (const { enabled, definition, name, kind, config } of connectors.values()) {
    const own = enabled && definition.type === 'connector' ? definition.inFront?.(config) : undefined;
    if (own !== undefined) return { name, kind, config: own };
  }
  return undefined;
}

function plugin({ name, kind, config }: FrontPlugin): FrontPlugin {
  return { name, kind, config };
}
