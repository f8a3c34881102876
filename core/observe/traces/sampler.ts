import type { Environment } from '../../config/tree.ts';
import type { SpanContext } from './span.ts';

/** Whether a trace is kept, of which that is known: its id, and what its parent has decided if it has one. */
export type Sampler = (traceId: string, parent: SpanContext | undefined) => boolean;

type Tell = (message: string) => void;

/**
 * What OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG ask for. What is not understood is told, and then as if it were not there.
 * Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#general-sdk-configuration
 */
export function samplerOf(env: Environment, tell: Tell): Sampler {
  const name = env['OTEL_TRACES_SAMPLER'] || 'parentbased_always_on';
  const [root, isParentBased] = name.startsWith('parentbased_') ? [name.slice(12), true] : [name, false];
  const keeps = rootSampler(root, env, tell);
  if (!keeps) {
    tell(`OTEL_TRACES_SAMPLER is "${name}", which is not known: parentbased_always_on is used`);
    return (_traceId, parent) => parent?.isSampled ?? true;
  }
  return isParentBased ? (traceId, parent) => parent?.isSampled ?? keeps(traceId) : keeps;
}

function rootSampler(name: string, env: Environment, tell: Tell): ((traceId: string) => boolean) | undefined {
  if (name === 'always_on') return () => true;
  if (name === 'always_off') return () => false;
  if (name === 'traceidratio') return ofRatio(ratioOf(env['OTEL_TRACES_SAMPLER_ARG'], tell));
  return undefined;
}

function ratioOf(text: string | undefined, tell: Tell): number {
  const ratio = text ? Number(text) : Number.NaN;
  if (ratio >= 0 && ratio <= 1) return ratio;
  tell(`OTEL_TRACES_SAMPLER_ARG is "${text ?? ''}": expected a number from 0 to 1; 1 is used`);
  return 1;
}

/** By the id alone, and as OpenTelemetry's SDK for JavaScript does it, so that all services of a trace decide alike. */
function ofRatio(ratio: number): (traceId: string) => boolean {
  const bound = ratio === 1 ? 2 ** 32 : Math.floor(ratio * 0xffff_ffff);
  return (traceId) => {
    let folded = 0;
    for (let at = 0; at < 32; at += 8) folded = (folded ^ Number.parseInt(traceId.slice(at, at + 8), 16)) >>> 0;
    return folded < bound;
  };
}
