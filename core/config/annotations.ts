import { z } from 'zod';
import { type FunctionAuth, functionAuths, type RetryPolicy } from '../contracts/policy.ts';
import { duration, maxConcurrency } from './units.ts';

/**
 * What OpenFaaS users say of a function by labels and annotations, in the words of the YAML. The YAML's own keys win.
 * Names and meanings: docs.openfaas.com, "Autoscaling" (labels) and "Async" (annotations).
 */

const wholeNumber = (least: number): z.ZodType<number, string> =>
  z
    .string()
    .regex(/^\d{1,9}$/, `expected a whole number from ${least}, as text`)
    .transform(Number)
    .refine((value) => value >= least, `expected a whole number from ${least}, as text`);
const number = z
  .string()
  .regex(/^\d{1,9}(\.\d{1,9})?$/, 'expected a number, as text')
  .transform(Number);
const bool = z.enum(['true', 'false'], 'expected "true" or "false"').transform((text) => text === 'true');
// Durations stay texts: the schema of the YAML reads them.
const anyDuration = duration();
const durationText = z
  .string()
  .refine((text) => anyDuration.safeParse(text).success, 'expected a duration such as "30s"');
const codes = z
  .string()
  .regex(/^\s*[1-5]\d\d\s*(,\s*[1-5]\d\d\s*)*$/, 'expected statuses such as "429,502,503"')
  .transform((text) => text.split(',').map((code) => code.trim()));

const prefix = 'com.openfaas.';

const scaleLabels = {
  min: ['min', wholeNumber(0)],
  max: ['max', wholeNumber(1)],
  zero: ['zero', bool],
  zeroDuration: ['zero-duration', durationText],
  type: ['type', z.enum(['rps', 'capacity', 'cpu', 'queue'], 'expected rps, capacity, cpu or queue')],
  target: ['target', number],
  targetProportion: ['target-proportion', number],
  downWindow: ['down.window', durationText],
  factor: ['factor', wholeNumber(0)],
} as const satisfies Record<string, readonly [string, z.ZodType]>;

const retryAnnotations = {
  attempts: ['attempts', wholeNumber(1)],
  codes: ['codes', codes],
  initialMs: ['min_wait', duration()],
  maxMs: ['max_wait', duration()],
} as const satisfies Record<string, readonly [string, z.ZodType]>;

const authAnnotations = {
  auth: ['auth', z.enum(functionAuths, `expected ${functionAuths.join(', ')}`)],
} as const satisfies Record<string, readonly [string, z.ZodType]>;

const watchdogVariables = {
  perReplica: ['max_inflight', wholeNumber(0)],
} as const satisfies Record<string, readonly [string, z.ZodType]>;

/** What annotations change of a retry policy. */
interface RetryWishes {
  readonly attempts?: number;
  readonly codes?: readonly string[];
  readonly initialMs?: number;
  readonly maxMs?: number;
}

/** Something that says what it cannot mean. */
export interface AnnotationProblem {
  /** From the function on: `['labels', 'com.openfaas.scale.min']`. */
  readonly path: readonly [map: 'labels' | 'annotations' | 'env', key: string];
  readonly message: string;
}

export interface Annotated {
  /** By `millrace.dev/auth`, for what clients of OpenFaaS deploy. */
  readonly auth: FunctionAuth | undefined;
  /** Keys of `scale`. */
  readonly scale: Readonly<Record<string, unknown>>;
  /** Keys of `invoke`, but for `retry`. */
  readonly invoke: Readonly<Record<string, unknown>>;
  readonly retry: RetryWishes | undefined;
  readonly problems: readonly AnnotationProblem[];
}

type TextMap = Readonly<Record<string, string>>;

/** Reads them; what is none of OpenFaaS' words is left alone. */
export function annotatedOf(labels: TextMap, annotations: TextMap, env: TextMap): Annotated {
  const problems: AnnotationProblem[] = [];
  const scale = gathered('labels', labels, `${prefix}scale.`, scaleLabels, problems);
  const retry = gathered('annotations', annotations, `${prefix}retry.`, retryAnnotations, problems);
  const { auth } = gathered('annotations', annotations, 'millrace.dev/', authAnnotations, problems);
  const queue = annotations[`${prefix}queue`];
  const most = gathered('env', env, '', watchdogVariables, problems);
  const invoke = {
    ...(queue !== undefined && { queue }),
    // The watchdogs take 0 for no limit. Theirs is the only one, so that more replicas are more calls.
    ...(Number(most['perReplica'] ?? 0) > 0 && { ...most, concurrency: maxConcurrency }),
  };
  return {
    auth: auth as FunctionAuth | undefined,
    scale,
    invoke,
    retry: Object.keys(retry).length === 0 ? undefined : retry,
    problems,
  };
}

function gathered(
  map: AnnotationProblem['path'][0],
  values: TextMap,
  keyPrefix: string,
  words: Readonly<Record<string, readonly [key: string, schema: z.ZodType]>>,
  problems: AnnotationProblem[],
): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  if (Object.keys(values).length === 0) return found; // Most functions say nothing here, and there may be thousands.
  for (const [name, [word, schema]] of Object.entries(words)) {
    const key = keyPrefix + word;
    const text = values[key];
    if (text === undefined) continue;
    const parsed = schema.safeParse(text);
    if (parsed.success) found[name] = parsed.data;
    else problems.push({ path: [map, key], message: parsed.error.issues[0]?.message ?? 'it means nothing' });
  }
  return found;
}

/** The policy as the annotations want it. `codes` are all the statuses that are tried again; failures without one stay. */
export function retryAsAnnotated(policy: RetryPolicy, wishes: RetryWishes): RetryPolicy {
  const { attempts = policy.attempts, codes: wanted } = wishes;
  const { initialMs = policy.backoff.initialMs } = wishes;
  const { maxMs = Math.max(initialMs, policy.backoff.maxMs) } = wishes;
  const isStatus = (word: string): boolean => /^[1-5]/.test(word);
  return {
    ...policy,
    attempts,
    backoff: { ...policy.backoff, initialMs, maxMs },
    ...(wanted && {
      retryOn: [...policy.retryOn.filter((word) => !isStatus(word)), ...wanted],
      failOn: policy.failOn.filter((word) => !wanted.includes(word)),
    }),
  };
}
