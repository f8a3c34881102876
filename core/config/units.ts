import { z } from 'zod';

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const goDuration = /^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$/;
const durationPart = /(\d+(?:\.\d+)?)(ms|s|m|h|d)/g;
const isoDuration = /^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$/;

/** 365 days: longer ones are mistakes, and timers and sums of them would overflow somewhere. */
const maxDurationMs = 365 * 86_400_000;

/**
 * Milliseconds of `1m30s`, `250ms`, `2d` or ISO 8601 `PT30S`; undefined for anything else. A bare number is refused:
 * nobody can see whether it means seconds or milliseconds.
 */
export function parseDuration(text: string): number | undefined {
  let total = 0;
  if (goDuration.test(text)) {
    for (let part = durationPart.exec(text); part; part = durationPart.exec(text)) {
      total += Number(part[1]) * (unitMs[part[2] ?? ''] ?? Number.NaN);
    }
  } else {
    const parts = isoDuration.exec(text);
    if (!parts || parts.slice(1).every((part) => part === undefined)) return undefined;
    const [days, hours, minutes, seconds] = parts.slice(1).map((part) => Number(part ?? 0)) as [
      number,
      number,
      number,
      number,
    ];
    total = days * 86_400_000 + hours * 3_600_000 + minutes * 60_000 + seconds * 1000;
  }
  return Number.isFinite(total) && total <= maxDurationMs ? Math.round(total) : undefined;
}

/** `90000` → `1m30s`: the shortest spelling that `parseDuration` reads back. */
export function formatDuration(ms: number): string {
  let rest = Math.round(ms);
  if (rest === 0) return '0s';
  let text = '';
  for (const [unit, size] of [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['m', 60_000],
    ['s', 1000],
    ['ms', 1],
  ] as const) {
    const amount = Math.floor(rest / size);
    if (amount > 0) text += `${amount}${unit}`;
    rest -= amount * size;
  }
  return text;
}

const unitBytes: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

/** Bytes of `256KiB`, `1.5MiB`, `10GB`; undefined for anything else. */
export function parseBytes(text: string): number | undefined {
  const parts = /^(\d+(?:\.\d+)?)\s?([KMGT]i?B|B)$/.exec(text);
  if (!parts) return undefined;
  const bytes = Math.round(Number(parts[1]) * (unitBytes[parts[2] ?? ''] ?? Number.NaN));
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

const durationForm = 'expected a duration such as "30s", "1m30s" or "PT30S"';
const bytesForm = 'expected a size such as "256KiB" or "1MB"';

const durationText = textOf(durationForm).transform((text, context) => {
  const ms = parseDuration(text);
  if (ms === undefined) {
    context.addIssue({
      code: 'custom',
      message: `${durationForm}, got "${text}"`,
    });
    return z.NEVER;
  }
  return ms;
});

const bytesText = textOf(bytesForm).transform((text, context) => {
  const bytes = parseBytes(text);
  if (bytes === undefined) {
    context.addIssue({ code: 'custom', message: `${bytesForm}, got "${text}"` });
    return z.NEVER;
  }
  return bytes;
});

/** A string whose absence is told as such, and whose number as what it should have been. */
function textOf(form: string): z.ZodString {
  return z.string({ error: ({ input }) => (input === undefined ? undefined : `${form}, got ${typeof input}`) });
}

/** A duration in the YAML; milliseconds in the code. `duration('30s')` has a default, `duration()` is required. */
export function duration(): typeof durationText;
export function duration(standard: string): z.ZodPrefault<typeof durationText>;
export function duration(standard?: string): typeof durationText | z.ZodPrefault<typeof durationText> {
  return standard === undefined ? durationText : durationText.prefault(standard);
}

/**
 * How long something may take: neither no time at all nor more than a day, since timers of more than 24.8 days fire at
 * once.
 */
export function timeLimit(standard: string): z.ZodPrefault<typeof durationText> {
  const limited = durationText.refine((ms) => ms >= 1 && ms <= 86_400_000, 'expected between 1ms and 1d');
  return limited.prefault(standard);
}

/** A size in the YAML; bytes in the code. */
export function bytes(): typeof bytesText;
export function bytes(standard: string): z.ZodPrefault<typeof bytesText>;
export function bytes(standard?: string): typeof bytesText | z.ZodPrefault<typeof bytesText> {
  return standard === undefined ? bytesText : bytesText.prefault(standard);
}

/** A string that never appears in logs, errors, metrics or `config show`. */
export function secret(): z.ZodString {
  return z.string().min(1).meta({ secret: true });
}

/** A function, namespace, queue, connector or connection: a DNS label, as OpenFaaS has it. */
export const dnsLabel = z
  .string()
  .max(63)
  .regex(
    /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/,
    'expected lower-case letters, digits and "-", at most 63, as in a DNS name',
  );

/** The key `connection` of a plugin that works over one. */
export const connectionName = dnsLabel
  .optional()
  .describe('Which of the connections; may be left out when there is only one of its kind.');

/** Attempts of a function at once that may be asked for. */
export const maxConcurrency = 100_000;

/** A quantity of Kubernetes, as text. */
export const quantity = z
  .string()
  .max(40)
  .regex(/^\d+(\.\d+)?([kMGTPE]i?|m)?$/, 'expected a quantity such as "128Mi" or "100m"');
