import type { Logger } from 'pino';
import type { Environment } from '../../config/tree.ts';
import type { Tracing } from '../tracing.ts';

/**
 * Whether the environment asks for traces: `OTEL_TRACES_EXPORTER=otlp`, or an `OTEL_EXPORTER_OTLP_ENDPOINT`.
 * Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
 */
export function asksForTraces(env: Environment): boolean {
  if (env['OTEL_SDK_DISABLED']?.toLowerCase() === 'true') return false;
  const exporter = env['OTEL_TRACES_EXPORTER'];
  if (exporter !== undefined && exporter !== '') return exporter.split(',').includes('otlp');
  return Boolean(env['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'] || env['OTEL_EXPORTER_OTLP_ENDPOINT']);
}

/**
 * The tracing that the environment asks for; undefined where it asks for none, and then nothing of it is loaded.
 * @throws MillraceError `config.invalid` as `createTracing` does.
 */
export async function tracingOf(env: Environment, logger: Logger, version: string): Promise<Tracing | undefined> {
  if (!asksForTraces(env)) return undefined;
  const { createTracing } = await import('../tracing.ts');
  return createTracing(env, logger, version);
}
