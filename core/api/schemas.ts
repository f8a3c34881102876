import { z } from 'zod';
import { parseDuration } from '../config/units.ts';
import { errorCodes, type ErrorCode } from '../contracts/errors.ts';
import { type DeadReason, invocationStates } from '../contracts/invocation.ts';
import { functionNamePattern, longestFunctionName } from '../kit/names.ts';
import type { ResponseDocument } from './route.ts';

const deadReasons = [
  'max_attempts',
  'permanent',
  'crashed',
  'expired',
  'unroutable',
  'loop',
  'unreadable',
] as const satisfies readonly DeadReason[];

/** A function as callers name it: `name` or `name.namespace`. */
export const functionName = z
  .string()
  .min(1)
  .max(longestFunctionName)
  .regex(functionNamePattern, 'expected NAME or NAME.NAMESPACE: letters, digits, "-", "_" and "."')
  .meta({ examples: ['echo', 'echo.openfaas-fn'] });

/** `?namespace=`: faas-cli sends an empty one when it was given none. */
export const namespaceText = z.string().max(63).optional();

/** `?follow=`: as Go's clients and people spell it. */
export const flagText = z
  .enum(['true', 'false', '1', '0', ''], 'expected true, false, 1 or 0')
  .transform((text) => text === 'true' || text === '1');

export const deadReason = z.enum(deadReasons);

export const idParams = z.strictObject({
  id: z
    .string()
    .max(256)
    .meta({ description: 'Of the invocation: a ULID.', examples: ['01JZ8Y4TQ3M4V5W6X7Y8Z9ABCD'] }),
});

/** `?limit=`: a whole number from 1, as text. */
export function limitText(standard: number, most: number): z.ZodType<number, string | undefined> {
  return z
    .string()
    .regex(/^\d{1,9}$/, `expected a whole number from 1 to ${most}`)
    .transform(Number)
    .refine((limit) => limit >= 1 && limit <= most, `expected a whole number from 1 to ${most}`)
    .prefault(String(standard));
}

/** `?wait=30s`, at most a minute: proxies cut off what is silent for longer. */
export const waitText = z
  .string()
  .max(40)
  .transform((text, context) => {
    const ms = parseDuration(text);
    if (ms !== undefined) return Math.min(ms, 60_000);
    context.addIssue({ code: 'custom', message: 'expected a duration such as "30s"; the most is 60s' });
    return z.NEVER;
  })
  .optional()
  .meta({ description: 'Answer when it has finished, or after this time; at most 60s.', examples: ['30s'] });

const time = z.string().meta({ format: 'date-time' });

export const attemptError = z.object({
  attempt: z.int(),
  at: time,
  code: z.string(),
  message: z.string(),
  status: z.int().optional(),
});

export const invocationView = z.object({
  id: z.string(),
  callId: z.string(),
  function: z.string(),
  state: z.enum(invocationStates),
  attempt: z.int(),
  acceptedAt: time,
  startedAt: time.nullable(),
  finishedAt: time.nullable(),
  nextAttemptAt: time.optional(),
  result: z.object({ status: z.int(), bytes: z.int() }).nullable(),
  error: attemptError.nullable(),
  errors: z.array(attemptError).optional(),
  reason: deadReason.optional(),
  replayOf: z.string().optional(),
});

export const queueRow = z.object({
  level: z.enum(['gateway', 'function', 'provider']),
  name: z.string().meta({ description: 'The function, or the pool of the provider.' }),
  queue: z.string().optional().meta({ description: 'Of a function lane: the queue that holds it.' }),
  provider: z.string().optional(),
  ready: z.int(),
  blocked: z.int().meta({ description: 'Wait behind another one of their order key.' }),
  delayed: z.int(),
  leased: z.int(),
  dead: z.int(),
  oldestAgeSeconds: z.number(),
  paused: z.boolean(),
  durability: z.string(),
});

export const deadLetterView = z.object({
  id: z.string(),
  function: z.string(),
  queue: z.string(),
  reason: deadReason,
  attempt: z.int(),
  diedAt: time,
  acceptedAt: time,
  callId: z.string(),
  method: z.string(),
  path: z.string(),
  query: z.string(),
  headers: z.record(z.string(), z.union([z.string(), z.array(z.string())])),
  source: z.string(),
  bodyBytes: z.int(),
  errors: z.array(attemptError),
  callbackUrl: z.string().optional(),
  replayOf: z.string().optional(),
});

export const functionStatusView = z.object({
  name: z.string(),
  image: z.string(),
  namespace: z.string(),
  labels: z.record(z.string(), z.string()),
  annotations: z.record(z.string(), z.string()),
  replicas: z.int(),
  availableReplicas: z.int(),
  invocationCount: z.int(),
  state: z.string(),
  provider: z.string(),
  queue: z.string(),
  message: z.string().optional(),
  createdAt: time.optional(),
  envProcess: z.string().optional(),
  envVars: z.record(z.string(), z.string()).optional(),
  constraints: z.array(z.string()).optional(),
  secrets: z.array(z.string()).optional().meta({ description: 'Their names.' }),
  limits: z.record(z.string(), z.string()).optional(),
  requests: z.record(z.string(), z.string()).optional(),
  readOnlyRootFilesystem: z.boolean().optional(),
});

export const connectorView = z.object({
  name: z.string(),
  kind: z.string(),
  state: z.string(),
  inFlight: z.int(),
  credit: z.int(),
  lag: z.number().optional(),
  lastError: z.string().optional(),
  reconnects: z.int(),
  settled: z.int(),
});

export const connectionView = z.object({
  name: z.string(),
  kind: z.string(),
  state: z
    .string()
    .meta({ description: 'connected, reconnecting or stopped; failed: by a fault of the plugin, until a restart.' }),
  reconnects: z.int().meta({ description: 'How often it was lost and won again since the start.' }),
  lastError: z.string().optional(),
});

const errorView = z.object({ error: z.object({ code: z.string(), message: z.string() }) });

/** The refusals that a route documents, by their codes. */
export function refusals(...codes: ErrorCode[]): Record<number, ResponseDocument> {
  const responses: Record<number, ResponseDocument> = {};
  for (const code of codes) {
    const { status, summary } = errorCodes[code];
    const before = responses[status];
    const description = `\`${code}\`: ${summary}`;
    responses[status] = {
      description: before ? `${before.description} ${description}` : description,
      schema: errorView,
    };
  }
  return responses;
}
