import { MillraceError } from '../../../../core/contracts/errors.ts';
import type { Container } from '../kinds.ts';
import { functionPort } from './words.ts';

type Probe = NonNullable<Container['livenessProbe']>;

/** As faas-netes asks functions that say nothing of it: both questions are one to the classic watchdog. */
const standard = {
  path: '/_/health',
  initialDelaySeconds: 0,
  periodSeconds: 2,
  timeoutSeconds: 1,
  failureThreshold: 3,
};

/** The least that Kubernetes takes. */
const least = { initialDelaySeconds: 0, periodSeconds: 1, timeoutSeconds: 1, failureThreshold: 1, successThreshold: 1 };

/**
 * How Kubernetes asks whether a function is well and ready: docs.openfaas.com, "Custom HTTP health checks".
 *
 * @throws MillraceError `request.invalid` for an annotation that says nothing of the kind.
 */
export function probesOf(annotations: Readonly<Record<string, string>>): {
  readonly livenessProbe: Probe;
  readonly readinessProbe: Probe;
} {
  return {
    livenessProbe: probeOf(annotations, 'com.openfaas.health.http.'),
    readinessProbe: {
      ...probeOf(annotations, 'com.openfaas.ready.http.'),
      successThreshold: numberOf(annotations, 'com.openfaas.ready.http.', 'successThreshold') ?? 1,
    },
  };
}

function probeOf(annotations: Readonly<Record<string, string>>, prefix: string): Probe {
  const { path: standardPath, ...numbers } = standard;
  const path = annotations[`${prefix}path`] ?? standardPath;
  if (!path.startsWith('/')) throw invalid(`${prefix}path`, 'a path such as /_/health', path);
  const keys = Object.keys(numbers) as (keyof typeof numbers)[];
  const told = keys.map((key) => [key, numberOf(annotations, prefix, key) ?? numbers[key]] as const);
  return { httpGet: { path, port: functionPort, scheme: 'HTTP' }, ...Object.fromEntries(told) };
}

function numberOf(
  annotations: Readonly<Record<string, string>>,
  prefix: string,
  key: keyof typeof least,
): number | undefined {
  const text = annotations[prefix + key];
  if (text === undefined) return undefined;
  const number = /^\d{1,6}$/.test(text) ? Number(text) : Number.NaN;
  if (number >= least[key]) return number;
  throw invalid(prefix + key, `a whole number from ${least[key]}, as text`, text);
}

function invalid(annotation: string, expected: string, got: string): MillraceError {
  const text = `annotations.${annotation}: expected ${expected}, got ${JSON.stringify(got)}`;
  return new MillraceError('request.invalid', text);
}
