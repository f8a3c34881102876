import { z } from 'zod';
import { duration } from '../../core/config/units.ts';
import { createSchedule, type Schedule, scheduleProblem } from './schedule.ts';
import { isTimeZone } from './zone.ts';

export const overlaps = ['allow', 'skip', 'bufferOne', 'bufferAll', 'cancelPrevious'] as const;

const printable = z.string().regex(/^[\x21-\x7e]+$/, 'expected printable ASCII characters without spaces');

const schedule = z.string().superRefine((text, context) => {
  const problem = scheduleProblem(text);
  if (problem !== undefined) context.addIssue({ code: 'custom', message: `schedule "${text}": ${problem}` });
});

const event = z.strictObject({
  type: printable.default('millrace.cron.fired').describe('The CloudEvents type.'),
  data: z.json().optional().describe('The body, as JSON; empty without it.'),
});

const catchUp = z.strictObject({
  mode: z
    .enum(['none', 'latest', 'all'])
    .default('latest')
    .describe('Which of the slots that were missed, while the gateway was down or the clock jumped, still fire.'),
  window: duration('1h').describe(
    'Slots older than this never fire late; also how long a refused slot is tried again.',
  ),
});

export const cronConfig = z
  .strictObject({
    schedule: schedule
      .optional()
      .describe('Five fields, six with seconds first, `@daily` and its like, or `@every 30s`. Or `annotation`.'),
    annotation: z
      .string()
      .min(1)
      .optional()
      .describe(
        'Instead of `schedule` and `function`: every function whose annotation `topic` names `cron-function` runs on the ' +
          'schedules of its annotation of this name (OpenFaaS: `schedule`), separated by `;`, each in the zone of a prefix ' +
          '`CRON_TZ=Area/City ` if it has one. As functions come and go.',
      ),
    timeZone: z
      .string()
      .refine(isTimeZone, 'expected a time zone such as "Europe/Berlin"')
      .default('UTC')
      .describe('IANA name of the zone in which the schedule is meant.'),
    function: z.string().min(1).optional().describe('The function that is run, always through its queue.'),
    event: event.prefault({}).describe('What the function gets.'),
    method: z.enum(['GET', 'POST', 'PUT', 'PATCH', 'DELETE']).default('POST').describe('The method that it sees.'),
    headers: z
      .record(
        z.string().regex(/^[a-z0-9-]+$/, 'expected a header name in lower case'),
        z.string().regex(/^[\t\x20-\x7e]*$/, 'expected printable ASCII characters'),
      )
      .default({})
      .describe('More headers that it gets.'),
    priority: z.number().int().min(0).max(9).optional().describe('0 (lowest) to 9; by default that of the function.'),
    jitter: duration('0s').describe('Each slot fires up to this much later, the same on every replica.'),
    overlap: z
      .enum(overlaps)
      .default('skip')
      .describe('What happens when the invocation of the slot before has not finished.'),
    catchUp: catchUp.prefault({}).describe('What happens to slots that were missed.'),
    exclude: z.array(z.iso.date()).default([]).describe('Local dates on which it does not fire.'),
    startAt: z.iso.datetime({ offset: true }).optional().describe('No slot before.'),
    endAt: z.iso.datetime({ offset: true }).optional().describe('No slot after.'),
    maxAge: duration().optional().describe('An invocation that has not begun by then expires.'),
  })
  .superRefine((config, context) => {
    const isAnnotated = config.annotation !== undefined;
    for (const key of ['schedule', 'function'] as const) {
      if ((config[key] === undefined) === isAnnotated) continue;
      const message = isAnnotated
        ? 'not together with annotation: functions say it themselves'
        : 'required, or annotation';
      context.addIssue({ code: 'custom', path: [key], message });
    }
  })
  .superRefine((config, context) => {
    if (config.startAt === undefined || config.endAt === undefined) return;
    const start = Date.parse(config.startAt);
    const { schedule: text } = config;
    const isRange = start < Date.parse(config.endAt);
    if (isRange && text === undefined) return;
    const slot = isRange && text !== undefined ? scheduleOf({ ...config, schedule: text }).next(start - 1) : undefined;
    if (slot !== undefined) return;
    context.addIssue({ code: 'custom', path: ['endAt'], message: 'no slot is between startAt and endAt' });
  });

export type CronConfig = z.output<typeof cronConfig>;

/** What one schedule of one function needs. */
export type SlotConfig = CronConfig & { readonly schedule: string; readonly function: string };

export function isSlotConfig(config: CronConfig): config is SlotConfig {
  return config.schedule !== undefined && config.function !== undefined;
}

export function scheduleOf(config: Omit<SlotConfig, 'function'>): Schedule {
  const { exclude, startAt, endAt } = config;
  return createSchedule({
    schedule: config.schedule,
    timeZone: config.timeZone,
    exclude,
    startAt: startAt === undefined ? undefined : Date.parse(startAt),
    endAt: endAt === undefined ? undefined : Date.parse(endAt),
  });
}
